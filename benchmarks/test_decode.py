"""Decode: how long each token after the first takes, how evenly they come, and what share of the bandwidth that is."""

import numpy as np
import pytest

from fixtures.memory import bandwidth
from fixtures.timing import worker_clock

pytestmark = [pytest.mark.benchmark(timer=worker_clock, group="decode"), pytest.mark.needs("generate")]


def distribution(rounds):
    """Percentiles of all gaps of all rounds, in seconds; `quantiles` are those of every 5 %, from the least to the most."""
    gaps = [gap for one in rounds for gap in one.gaps]
    told = {f"p{p}": float(np.percentile(gaps, p)) for p in (50, 90, 99)} | {"max": max(gaps), "gaps": len(gaps)}
    return told | {"quantiles": np.percentile(gaps, range(0, 101, 5)).tolist()}


@pytest.mark.workloads("decode")
def test_time_per_output_token(variant, workload, measure, judge, settings):
    rounds = measure(workload)
    facts, positions = variant.facts, workload.prompt + workload.new / 2
    tpot = judge("tpot", workload, [one.tpot for one in rounds], details=distribution(rounds))
    judge("itl_p99", workload, [float(np.percentile(one.gaps, 99)) for one in rounds])
    judge("throughput", workload, [one.throughput for one in rounds])
    if facts["bytes_read_per_token"]:  # None of a model that somebody else serves
        read = facts["bytes_read_per_token"] + positions * facts["kv_bytes_per_position"]
        limit = bandwidth(variant.variant.device, settings.threads)
        judge("mbu", workload, [read / one.tpot / limit for one in rounds], details={"bytes_per_second": limit})
    assert tpot.value > 0


@pytest.mark.needs("sampling")
@pytest.mark.workloads("sampled")
def test_sampled_generation(variant, workload, measure, judge):
    rounds = measure(workload)
    measured = judge("tpot", workload, [one.tpot for one in rounds], details=distribution(rounds))
    assert measured.value > 0
