"""Prefill: how long a prompt takes until its first token."""

import pytest

from fixtures.timing import worker_clock

pytestmark = [pytest.mark.benchmark(timer=worker_clock, group="time to first token"), pytest.mark.needs("generate")]


@pytest.mark.workloads("prefill")
def test_time_to_first_token(variant, workload, measure, judge):
    rounds = measure(workload)
    measured = judge("ttft", workload, [one.ttft for one in rounds])
    assert measured.value > 0
