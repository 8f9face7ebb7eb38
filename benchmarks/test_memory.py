"""Memory: what the worker's process tree holds at rest after loading, and at its peak."""

import sys

import pytest

from fixtures import memory


def test_memory_at_rest(variant, judge):
    held = variant.memory["pss"] or variant.memory["uss"]
    measured = judge("loaded_memory", "load", [held], details={**variant.memory, **variant.call("allocator")})
    assert measured.value > variant.facts["weight_bytes"] * 0.5


@pytest.mark.last
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the peak of each process's memory")
def test_peak_memory(variant, judge):
    measured = judge("peak_memory", "session", [memory.peak(variant.worker.pid)])
    assert measured.value > 0
