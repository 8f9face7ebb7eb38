"""Bits as specified: what is written is what the oracle writes, and what is read is what the oracle reads."""

import numpy as np
import pytest
from hypothesis import given

from fixtures.format import rounded
from fixtures.strategies import batches, fewer, seeds


@pytest.mark.needs("quantize", "encode")
@given(batches())
def test_bytes_are_the_specified_ones(kernel, batch):
    values = kernel.values(batch)

    found, specified = kernel.quantize(values), kernel.form.encode(values)

    for name, array in specified.items():
        assert np.array_equal(found[name], array)


@pytest.mark.needs("dequantize", "random")
@given(seeds())
def test_any_bytes_are_read_as_specified(kernel, seed):
    stored = kernel.form.random(np.random.default_rng(seed), 4)

    found, specified = kernel.dequantize(stored), kernel.form.decode(stored)

    assert found.dtype == np.float32
    assert np.array_equal(found, specified)


@pytest.mark.needs("narrow", "random")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@given(seeds())
@fewer(2)
def test_narrow_values_are_the_wide_ones_rounded(kernel, dtype, seed):
    stored = kernel.form.random(np.random.default_rng(seed), 4)

    found = kernel.call("narrow", form=kernel.form.name, stored=stored, dtype=dtype)

    assert found["dtype"] == dtype
    assert np.array_equal(found["values"], rounded(kernel.form.decode(stored), dtype))
