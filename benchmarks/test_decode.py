"""Decode: how long each token after the first takes, how evenly they come, and what share of the bandwidth that is."""

import numpy as np
import pytest

from fixtures.peaks import arithmetic, bandwidth
from fixtures.timing import worker_clock

pytestmark = [pytest.mark.benchmark(timer=worker_clock, group="decode"), pytest.mark.needs("generate")]


def distribution(rounds):
    """Percentiles of all gaps of all rounds, in seconds; `quantiles` are those of every 5 %, from the least to the most."""
    gaps = [gap for one in rounds for gap in one.gaps]
    told = {f"p{p}": float(np.percentile(gaps, p)) for p in (50, 90, 99)} | {"max": max(gaps), "gaps": len(gaps)}
    return told | {"quantiles": np.percentile(gaps, range(0, 101, 5)).tolist()}


def beginnings(rounds):
    """Throughput up to the first 8, 16, 32, ... tokens, round by round: what batches that generate fewer are held against."""
    lengths = (2**power for power in range(3, 12))
    return {"first": {str(n): [one.throughput_of(n) for one in rounds] for n in lengths if n < rounds[0].workload.new}}


@pytest.mark.workloads("decode")
def test_time_per_output_token(variant, workload, measure, judge, settings):
    rounds = measure(workload)
    facts, positions = variant.facts, workload.prompt + workload.new / 2
    tpot = judge("tpot", workload, [one.tpot for one in rounds], details=distribution(rounds))
    judge("itl_p99", workload, [float(np.percentile(one.gaps, 99)) for one in rounds])
    judge("throughput", workload, [one.throughput for one in rounds], details=beginnings(rounds))
    if facts["bytes_read_per_token"]:  # None of a model that somebody else serves
        read = facts["bytes_read_per_token"] + positions * facts["kv_bytes_per_position"]
        device, threads = variant.variant.device, settings.threads
        limit = bandwidth(device, threads)
        peaks = {"bytes_per_second": limit, "operations_per_second": arithmetic(device, threads)}
        judge("mbu", workload, [read / one.tpot / limit for one in rounds], details=peaks)
    assert tpot.value > 0


@pytest.mark.needs("sampling")
@pytest.mark.workloads("sampled")
def test_sampled_generation(variant, workload, measure, judge):
    rounds = measure(workload)
    measured = judge("tpot", workload, [one.tpot for one in rounds], details=distribution(rounds))
    assert measured.value > 0
