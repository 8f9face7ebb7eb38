"""Memory: what the worker's process tree holds at rest after loading, and at its peak."""

import sys

import pytest

from fixtures import memory

pytestmark = pytest.mark.needs("resident")


def told(held):
    if held is None:
        pytest.skip(
            "NVML does not say what this process holds on the GPU (a container may number processes its own way)"
        )
    return held


def test_memory_at_rest(variant, judge):
    details = {**variant.memory, **variant.call("allocator")}
    measured = judge("loaded_memory", "load", [told(memory.held(variant.memory))], details=details)
    assert measured.value > 0


@pytest.mark.last
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the peak of each process's memory")
def test_peak_memory(variant, settings, judge):
    # What ran before decides the peak, so another form of the run is another workload.
    peak = memory.peak(variant.worker.pid, variant.variant.device)
    measured = judge("peak_memory", settings.plan.session, [told(peak)])
    assert measured.value > 0
