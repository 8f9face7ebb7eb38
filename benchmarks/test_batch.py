"""Batch: what several requests at once do to throughput."""

import pytest

from fixtures.timing import worker_clock

pytestmark = [pytest.mark.benchmark(timer=worker_clock, group="batch"), pytest.mark.needs("generate", "batch")]


@pytest.mark.workloads("batch")
def test_throughput(variant, workload, measure, judge):
    rounds = measure(workload)
    measured = judge("throughput", workload, [one.throughput for one in rounds])
    judge("requests_per_second", workload, [workload.batch / one.seconds for one in rounds])
    assert measured.value > 0
