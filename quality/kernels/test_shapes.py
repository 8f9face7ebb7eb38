"""A tensor's shape is no business of its values: any shape comes back as it went, with each value within its block's bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.kernel import STORAGES


@st.composite
def shapes(draw):
    """Up to four dimensions; the last in whole blocks and a rest, which is dropped where there can be none."""
    leading = draw(st.lists(st.sampled_from((1, 2, 3)), max_size=3))
    return leading, draw(st.integers(0, 3)), draw(st.sampled_from((0, 1, 2, 3, 31, 62, 63, 255)))


def magnitudes(rng, leading):
    """One for each row, so that a value that is read with another block's scale is far off."""
    return np.exp2(rng.integers(-6, 6, (*leading, 1)))


def bounds(form, values):
    """Of each value in the flattened tensor, whose last block may be a part of one; and what a coarse table may add."""
    flat = values.ravel()
    padded = np.pad(flat, (0, -flat.size % form.block), mode="edge").reshape(-1, form.block)
    coarse = 2.0**-13 * np.abs(values).max(initial=0.0)
    return form.bound(padded).ravel()[: flat.size].reshape(values.shape) + coarse


@pytest.mark.needs("shaped", "bound")
@given(shapes(), st.integers(0, 2**16), st.sampled_from(STORAGES))
def test_shape_and_values_come_back(kernel, shape, seed, storage):
    leading, blocks, rest = shape
    # Four values a word: any storage has whole words then.
    last = max(blocks, 1) * kernel.form.block + rest // 8 * 8 * kernel.kernel.adapter.any_length
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((*leading, last)) * magnitudes(rng, leading)).astype(np.float32)
    values = values if kernel.form.levels is None or kernel.form.levels[0] < 0 else np.abs(values)
    kernel.admit(values)

    found = kernel.call("shaped", form=kernel.form.name, values=values, storage=storage)

    assert found.shape == values.shape
    assert (np.abs(found.astype(np.float64) - values) <= bounds(kernel.form, values)).all()


@pytest.mark.needs("shaped", "any length", "bound")
@given(shapes(), st.integers(0, 2**16))
def test_any_length_comes_back(kernel, shape, seed):
    leading, blocks, rest = shape
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.1, 1, (*leading, blocks * kernel.form.block + rest)) * magnitudes(rng, leading)
    kernel.admit(values)

    found = kernel.call("shaped", form=kernel.form.name, values=values.astype(np.float32), storage="uint8")

    assert found.shape == values.shape
    assert (np.abs(found - values) <= bounds(kernel.form, values.astype(np.float32))).all()


@pytest.mark.needs("shaped", "bound")
def test_more_values_than_any_buffer_of_temporaries(kernel):
    rows = 2**20 // kernel.form.block // 8  # a megavalue, where numpy elides temporaries from 256 KiB on
    values = np.random.default_rng(0).uniform(0, 1, (rows, 8 * kernel.form.block)).astype(np.float32)

    found = kernel.call("shaped", form=kernel.form.name, values=values, storage="uint8")

    assert (np.abs(found - values) <= bounds(kernel.form, values)).all()
