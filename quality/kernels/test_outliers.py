"""Outliers: columns with a large magnitude are told and left out of the integers, and the input is as it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.needs("outliers")

THRESHOLD = 6.0


@st.composite
def matrices(draw):
    """[rows, columns] of values below the threshold, but for some: beyond it, just below it, and exactly on it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.uniform(-5.9, 5.9, (draw(st.integers(1, 5)), draw(st.integers(1, 70)))).astype(np.float32)
    special = st.sampled_from((THRESHOLD, -THRESHOLD, 100.0, -7.5, float(np.nextafter(np.float32(6), np.float32(0)))))
    for value in draw(st.lists(special, max_size=4)):
        values[rng.integers(values.shape[0]), rng.integers(values.shape[1])] = value
    return values


@given(matrices())
def test_columns_of_outliers_are_left_out_and_told(kernel, values):
    expected = kernel.form.encode(values, THRESHOLD)

    found = kernel.call("quantize_apart", form=kernel.form.name, values=values, threshold=THRESHOLD)

    assert all(np.array_equal(found[name], array) for name, array in expected.items())
    assert np.array_equal(found["input"], values)


@given(st.integers(1, 70), st.floats(6, 100, width=32))
def test_nothing_but_outliers_leaves_zeros(kernel, columns, value):
    values = np.full((2, columns), value, np.float32)

    found = kernel.call("quantize_apart", form=kernel.form.name, values=values, threshold=THRESHOLD)

    assert not found["codes"].any()
    assert np.array_equal(found["columns"], np.arange(columns))
