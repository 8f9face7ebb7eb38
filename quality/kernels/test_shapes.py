"""A tensor's shape is no business of its values: any shape comes back as it went, with each value within its block's bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.format import largest_magnitude
from fixtures.kernel import STORAGES


@st.composite
def shapes(draw):
    """Up to four dimensions; the last in whole blocks and a rest, which is dropped where there can be none. A rest below
    zero lacks as many of one block more.
    """
    leading = draw(st.lists(st.sampled_from((0, 1, 1, 2, 2, 3, 3)), max_size=3))
    return leading, draw(st.integers(0, 3)), draw(st.sampled_from((0, 1, 2, 3, 31, 62, 63, 255, -1, -2)))


def drawn(form, rng, shape):
    """float32 of that shape, its rows of different magnitudes, so that what is read with another block's scale is far off."""
    values = rng.standard_normal(shape) * np.exp2(rng.integers(-6, 6, (*shape[:-1], 1)))
    return (values if form.levels is None or form.levels[0] < 0 else np.abs(values)).astype(np.float32)


def bounds(form, values):
    """Of each value in the flattened tensor, whose last block may be a part of one; and what a coarse table may add."""
    flat = values.ravel()
    padded = np.pad(flat, (0, -flat.size % form.block)).reshape(-1, form.block)
    every = form.bound(padded) + 2.0**-13 * largest_magnitude(padded)
    return every.ravel()[: flat.size].reshape(values.shape)


@pytest.mark.needs("shaped", "bound")
@given(shapes(), st.integers(0, 2**16), st.sampled_from(STORAGES))
def test_shape_and_values_come_back(kernel, shape, seed, storage):
    leading, blocks, rest = shape
    # Four values a word: any storage has whole words then.
    last = max(blocks, 1) * kernel.form.block + abs(rest) // 8 * 8 * kernel.kernel.adapter.any_length
    values = drawn(kernel.form, np.random.default_rng(seed), (*leading, last))
    kernel.admit(values)

    found = kernel.call("shaped", form=kernel.form.name, values=values, storage=storage)

    assert found.shape == values.shape
    assert (np.abs(found.astype(np.float64) - values) <= bounds(kernel.form, values)).all()


@pytest.mark.needs("shaped", "any length", "bound")
@given(shapes(), st.integers(0, 2**16))
def test_any_length_comes_back(kernel, shape, seed):
    leading, blocks, rest = shape
    last = (blocks + (rest < 0)) * kernel.form.block + rest
    values = drawn(kernel.form, np.random.default_rng(seed), (*leading, last))
    kernel.admit(values)

    found = kernel.call("shaped", form=kernel.form.name, values=values, storage="uint8")

    assert found.shape == values.shape
    assert (np.abs(found.astype(np.float64) - values) <= bounds(kernel.form, values)).all()


@pytest.mark.needs("shaped", "bound")
def test_more_values_than_any_buffer_of_temporaries(kernel):
    # numpy elides temporaries from 256 KiB on, which gguf-py, in groups of 16 rows, reaches with long ones alone.
    values = drawn(kernel.form, np.random.default_rng(0), (64, 2**14))

    found = kernel.call("shaped", form=kernel.form.name, values=values, storage="uint8")

    assert (np.abs(found.astype(np.float64) - values) <= bounds(kernel.form, values)).all()
