"""Bits as specified: what is written is what the oracle writes, and what is read is what the oracle reads."""

import numpy as np
import pytest
from hypothesis import given

from fixtures.format import rounded
from fixtures.formats.codebooks import resized
from fixtures.strategies import batches, fewer, seeds


@pytest.mark.needs("quantize", "encode")
@given(batches())
def test_bytes_are_the_specified_ones(kernel, batch):
    values = kernel.values(batch)

    found, specified = kernel.quantize(values), kernel.form.encode(values)

    for name, array in specified.items():
        assert np.array_equal(found[name], array)


@pytest.mark.needs("sized")
@given(batches(), seeds())
def test_bytes_in_blocks_of_every_size(kernel, batch, number):
    sizes = kernel.kernel.adapter.sizes
    size = sizes[number % len(sizes)]
    values = np.resize(kernel.values(batch), (max(sizes) // size, size))

    found = kernel.call("sized", form=kernel.form.name, values=values)

    for name, array in resized(kernel.form, size).encode(values).items():
        assert np.array_equal(found[name], array)


@pytest.mark.needs("mapped")
@given(batches(), seeds())
@fewer(4)
def test_a_map_that_was_changed_in_place_is_the_one_that_counts(kernel, batch, seed):
    values, rng = kernel.values(batch), np.random.default_rng(seed)
    one, other = (np.sort(rng.uniform(kernel.form.levels[0], 1, 256)).astype(np.float32) for _ in range(2))

    [after_another] = kernel.call("mapped", form=kernel.form.name, values=values, maps=np.stack([one, other]))[1:]

    [alone] = kernel.call("mapped", form=kernel.form.name, values=values, maps=other[None])
    assert np.array_equal(after_another, alone)


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
