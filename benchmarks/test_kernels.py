"""Kernels: how many values a second are quantized, dequantized and multiplied, and what share of the bandwidth that is."""

import numpy as np
import pytest

from fixtures.memory import bandwidth
from fixtures.timing import worker_clock

pytestmark = pytest.mark.benchmark(timer=worker_clock, group="kernels")

VALUES = 2**20
ROUNDS = 5
PRODUCT = (1, 1024, 1024)
"""Rows, inner and outer dimension: one token through a square matrix."""


@pytest.fixture
def timed(kernel, benchmark, settings):
    """timed(method, bytes_moved, **arguments): rounds of one call, timed in the worker and handed to pytest-benchmark."""

    def run(method, bytes_moved, **arguments):
        seconds = kernel.seconds(method, ROUNDS, form=kernel.form.name, **arguments)
        told = iter(seconds)
        benchmark.pedantic(lambda: worker_clock.advance(next(told)), rounds=len(seconds), iterations=1)
        rate = bytes_moved / min(seconds)
        limit = bandwidth("cpu", settings.threads)
        benchmark.extra_info |= {
            "kernel": kernel.kernel.id,
            "bytes_per_second": rate,
            "share_of_bandwidth": rate / limit,
        }
        return rate

    return run


def moved(form):
    """Bytes of a megavalue in float32 and as it is stored."""
    return VALUES * (4 + form.bits_per_weight / 8)


@pytest.fixture
def values(kernel):
    found = np.random.default_rng(0).uniform(-1, 1, (VALUES // kernel.form.block, kernel.form.block)).astype(np.float32)
    return np.abs(found) if kernel.form.levels is not None and kernel.form.levels[0] >= 0 else found


@pytest.mark.needs("quantize", "one call")
def test_quantize(kernel, values, timed):
    assert timed("quantize", moved(kernel.form), values=values) > 0


@pytest.mark.needs("dequantize", "random", "one call")
def test_dequantize(kernel, timed):
    stored = kernel.form.random(np.random.default_rng(0), VALUES // kernel.form.block)

    assert timed("dequantize", moved(kernel.form), stored=stored) > 0


@pytest.mark.needs("integer product")
def test_integer_product(kernel, timed):
    rows, inner, outer = PRODUCT
    a, b = np.ones((rows, inner), kernel.form.left), np.ones((inner, outer), kernel.form.right)

    assert timed("multiply_integers", a.nbytes + b.nbytes + 4 * rows * outer, a=a, b=b) > 0
