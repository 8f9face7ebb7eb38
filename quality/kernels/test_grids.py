"""Grids: the integers of given scales and zeros are the specified ones, ties and saturation included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.strategies import fewer

pytestmark = pytest.mark.needs("grid")

ROWS, COLUMNS = 3, 47
# As a grid counts its zeros from its lowest integer on: the ends, and zero of each size of signed ones.
SPECIAL = (0, -1, 8, 128, 2**15)


@st.composite
def cases(draw):
    """values [channels, n], a scale and a zero a channel; every second value is a tie or a float beside one. And a number
    that chooses a level at which the library may rewrite what it is told to do.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scales = np.exp2(rng.uniform(-20, 12, ROWS)).astype(np.float32)
    zeros = np.where(rng.random(ROWS) < 0.5, rng.integers(0, 2**16, ROWS), rng.choice(SPECIAL, ROWS)).astype(np.int32)
    steps = rng.integers(-300, 300, (ROWS, COLUMNS)) + rng.choice((0.5, 0.0, 0.25), (ROWS, COLUMNS))
    # Some small, some about the largest of a grid: 256, 448, 57,344, 65,535.
    steps *= rng.choice((1, 1, 1, 1.6, 200, 230, 2.0**-12, 2.0**-17), steps.shape)
    values = (steps * scales[:, None]).astype(np.float32)
    beside = np.nextafter(values, rng.choice((-np.inf, np.inf), values.shape).astype(np.float32))
    return np.where(rng.random(values.shape) < 0.6, values, beside), scales, zeros, draw(st.integers(0, 11))


@given(cases())
def test_integers_are_the_specified_ones(kernel, case):
    values, scales, zeros, number = case
    zeros = kernel.form.zeros(zeros, scales)
    arguments = {"values": values, "scales": scales, "zeros": zeros, "optimization": kernel.level(number)}

    found = kernel.call("to_integers", form=kernel.form.name, **arguments)

    assert kernel.form.admits(found, values, scales, zeros).all()


@given(cases())
def test_position_and_length_change_nothing(kernel, case):
    values, scales, zeros, number = case
    zeros = kernel.form.zeros(zeros, scales)
    arguments = {"form": kernel.form.name, "scales": scales, "zeros": zeros, "optimization": kernel.level(number)}

    whole = kernel.call("to_integers", values=values, **arguments)
    part = kernel.call("to_integers", values=np.ascontiguousarray(values[:, 5:18]), **arguments)

    assert np.array_equal(whole[:, 5:18], part)


@given(cases(), st.integers(0, 2**16))
@fewer(40)
def test_many_values_are_as_each_alone(kernel, case, seed):
    values, scales, zeros, number = case
    zeros = kernel.form.zeros(zeros, scales)
    arguments = {"form": kernel.form.name, "scales": scales, "zeros": zeros, "optimization": kernel.level(number)}
    places = np.random.default_rng(seed).integers(values.shape[1], size=2**14 + 5)

    whole = kernel.call("to_integers", values=np.ascontiguousarray(values[:, places]), **arguments)
    alone = kernel.call("to_integers", values=values, **arguments)

    assert np.array_equal(whole, alone[:, places])


@given(cases())
def test_values_are_the_specified_ones(kernel, case):
    _, scales, zeros, number = case
    form, zeros = kernel.form, kernel.form.zeros(zeros, scales)
    codes = np.tile(form.every, (ROWS, 1))

    found = kernel.call(
        "from_integers", form=form.name, codes=codes, scales=scales, zeros=zeros, optimization=kernel.level(number)
    )

    assert np.array_equal(found, form.values(codes, scales, zeros))


@given(cases())
def test_error_within_the_grid(kernel, case):
    values, scales, zeros, number = case
    form, zeros = kernel.form, kernel.form.zeros(zeros, scales)
    arguments = {"form": form.name, "scales": scales, "zeros": zeros, "optimization": kernel.level(number)}
    ends = form.values(np.tile([form.low, form.high], (ROWS, 1)), scales, zeros)
    inside = np.clip(values, ends[:, :1], ends[:, 1:])

    found = kernel.call("from_integers", codes=kernel.call("to_integers", values=inside, **arguments), **arguments)

    assert (np.abs(found.astype(np.float64) - inside) <= form.error(inside, scales)).all()


@given(cases(), st.sampled_from((np.inf, -np.inf, 3e38, -3e38)))
def test_beyond_the_grid_is_its_end(kernel, case, far):
    values, scales, zeros, number = case
    form, zeros = kernel.form, kernel.form.zeros(zeros, scales)
    arguments = {"scales": scales, "zeros": zeros, "optimization": kernel.level(number)}

    found = kernel.call("to_integers", form=form.name, values=np.full_like(values, far), **arguments)

    assert (found == {True: form.high, False: form.low}[far > 0]).all()


@pytest.mark.needs("no nan")
@given(cases())
def test_what_is_no_number_changes_nothing_beside_it(kernel, case):
    # Integers cannot say it: which of them it becomes is the library's affair.
    values, scales, zeros, number = case
    zeros = kernel.form.zeros(zeros, scales)
    arguments = {"form": kernel.form.name, "scales": scales, "zeros": zeros, "optimization": kernel.level(number)}
    lost = values < 0

    clean = kernel.call("to_integers", values=values, **arguments)
    found = kernel.call("to_integers", values=np.where(lost, np.float32(np.nan), values), **arguments)

    assert np.array_equal(found[~lost], clean[~lost])
    assert ((found >= kernel.form.low) & (found <= kernel.form.high)).all()


@pytest.mark.needs("nan")
@given(cases())
def test_what_is_no_number_stays_none(kernel, case):
    values, scales, zeros, number = case
    zeros = kernel.form.zeros(zeros, scales)
    arguments = {"form": kernel.form.name, "scales": scales, "zeros": zeros, "optimization": kernel.level(number)}

    codes = kernel.call("to_integers", values=np.where(values < 0, np.float32(np.nan), values), **arguments)
    found = kernel.call("from_integers", codes=codes, **arguments)

    assert np.array_equal(np.isnan(found), values < 0)
