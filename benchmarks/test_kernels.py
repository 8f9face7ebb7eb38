"""Kernels: how long a library's call takes, and what share of the memory bandwidth; with --against, whether it grew."""

import pytest

from fixtures.kernel_work import VALUES, work
from fixtures.peaks import bandwidth
from fixtures.timing import worker_clock

ROUNDS = 5


@pytest.fixture
def timed(kernel, benchmark, settings, rate):
    """timed(method): rounds of one call, timed in the worker and handed to pytest-benchmark; their best bytes a second."""

    def run(method):
        seconds = kernel.seconds(method, VALUES, ROUNDS)
        told = iter(seconds)
        benchmark.pedantic(lambda: worker_clock.advance(next(told)), rounds=len(seconds), iterations=1)
        moved = work(kernel.form, method).bytes_moved / min(seconds)
        share = moved / bandwidth(settings.device, settings.threads)
        benchmark.extra_info |= {"kernel": kernel.kernel.id, "bytes_per_second": moved, "share_of_bandwidth": share}
        rate(method, moved, share)
        return moved

    return run


@pytest.mark.benchmark(timer=worker_clock, group="kernels")
def test_call(kernel, method, timed):
    assert timed(method) > 0


@pytest.mark.against
def test_against_the_old_side(kernels_versus):
    assert kernels_versus()
