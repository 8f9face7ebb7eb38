"""Memory: what the worker's process tree holds at rest after loading, and at its peak."""

import sys

import pytest

from fixtures import memory

pytestmark = pytest.mark.needs("resident")


def test_memory_at_rest(variant, judge):
    held = variant.memory["pss"] or variant.memory["uss"]
    measured = judge("loaded_memory", "load", [held], details={**variant.memory, **variant.call("allocator")})
    assert measured.value > 0


@pytest.mark.last
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the peak of each process's memory")
def test_peak_memory(variant, settings, judge):
    # What ran before decides the peak, so another form of the run is another workload.
    measured = judge("peak_memory", settings.plan.session, [memory.peak(variant.worker.pid)])
    assert measured.value > 0
