"""How far a value may be from what it became: never beyond the format's bound, never farther than the nearest code."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fixtures.format import scale_rounding
from fixtures.strategies import SHAPES, Block, batches, fewer

pytestmark = pytest.mark.needs("quantize")


def error(values, found):
    return np.abs(values.astype(np.float64) - found.astype(np.float64))


@pytest.mark.needs("bound")
@given(batches())
@example([Block("ties", 0, 1495)])  # where a row's scale counts two roundings of five
@example([Block("grid", 0, 1161)])  # four roundings of MatMulNBits' 255 steps
@example([Block("uniform", 0, 7)])  # found by a table too coarse, in either map of eight bits
def test_bound(kernel, batch):
    values = kernel.values(batch)

    found = error(values, kernel.round_trip(values))

    assert (found <= kernel.form.bound(values)).all()


@pytest.mark.needs("bound")
def test_bound_is_tight(kernel, tightness):
    # Every shape at many magnitudes: a bound that nothing comes near would let anything pass.
    exponents = range(-20, 21, 2)
    batch = [Block(shape, exponent, seed) for shape in SHAPES for exponent in exponents for seed in (1, 2, 3)]
    values = kernel.values(batch)

    share = float((error(values, kernel.round_trip(values)) / kernel.form.bound(values)).max())

    tightness(share)
    assert 0.9 < share <= 1


@pytest.mark.needs("rounded in groups")
@pytest.mark.parametrize("deviation", [1, 0.02])
def test_no_worse_than_rounding_in_groups(kernel, deviation):
    normal = np.random.default_rng(0).standard_normal((2**14 // kernel.form.block, kernel.form.block))
    values = (deviation * normal).astype(np.float32)

    found = error(values, kernel.round_trip(values))

    assert (found**2).sum() <= (error(values, kernel.form.rounded_in_groups.rounded(values)) ** 2).sum()


@pytest.mark.needs("choices")
@given(batches())
@example([Block("outlier", -127, 75, ((75, "-tiny"),))])  # all that is left after its outlier
def test_nearest_choice(kernel, batch):
    excess, allowed = beyond_the_nearest(kernel, kernel.values(batch), 2.0**-20)

    assert (excess <= allowed).all()


@pytest.mark.needs("choices")
@given(batches())
@example([Block("outlier", -127, 75, ((75, "-tiny"),))])  # all that is left after its outlier
def test_nearly_the_nearest_choice(kernel, batch):
    # Also where a table of limited fineness finds the code, which a known defect may excuse from the test before.
    excess, allowed = beyond_the_nearest(kernel, kernel.values(batch), 2.0**-13)

    assert (excess <= allowed).all()


def beyond_the_nearest(kernel, values, share):
    """How much farther each value lies from what it became than from its nearest choice; and how much is allowed."""
    stored, form = kernel.quantize(values), kernel.form
    choices = form.choices(stored)
    nearest = np.abs(values.astype(np.float64)[..., None] - choices).min(axis=2)
    # A scale that was off by a share when codes were chosen moved a code's meaning, and that of the nearest, by as much.
    off = form.rounded_last * scale_rounding(form, stored)[0][:, None]
    return error(values, form.decode(stored)) - nearest, (share + 2 * off) * np.abs(choices).max(axis=2)


@given(batches())
@example([Block("sparse", -19, 7), Block("powers", -18)])  # a subnormal scale of Q2_K, and one of IQ4_NL
@example([Block("sparse", 0, 1516, ((0, "-tiny"),))])  # zeros but for one value
def test_never_worse_than_zeros(kernel, batch):
    values = kernel.values(batch)

    stored = kernel.quantize(values)

    found, zeros = (np.sqrt((error(values, each) ** 2).sum(axis=1)) for each in (kernel.decode(stored), 0 * values))
    # Where a scale is one of float16's subnormal numbers, rounding may even double it, and what it scales.
    rounding = scale_rounding(kernel.form, stored)[1]
    small = np.abs(values).max(axis=1) < kernel.form.smallest_normal
    more = rounding if kernel.form.bound else np.minimum(rounding, zeros)
    assert (found <= zeros * (1 + 2.0**-14) + small * more).all()


@pytest.mark.needs("zero")
@given(batches())
def test_zero_preserved(kernel, batch):
    values = kernel.values(batch)

    found = kernel.round_trip(values)

    assert (found[values == 0] == 0).all()


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_zeros_stay_zeros(kernel, zero):
    values = np.full((2, kernel.form.block), zero, np.float32)

    assert (kernel.round_trip(values) == 0).all()


@given(batches())
def test_finite_stays_finite(kernel, batch):
    values = kernel.values(batch)

    assert np.isfinite(kernel.round_trip(values)).all()


@pytest.mark.needs("flushed")
def test_flushed_to_zeros_up_to_the_stated_magnitude(kernel):
    form, signs = kernel.form, [[1], [-1]] if "sign" in kernel.form.keeps else [[1]]
    ones = np.array(signs) * np.ones(form.block)
    flushed, kept = ((ones * each).astype(np.float32) for each in (form.flushed, form.kept or form.flushed * 1.001))

    assert (kernel.round_trip(flushed) == 0).all()
    assert (kernel.round_trip(kept) != 0).all()


@pytest.mark.needs("infinite")
def test_finite_below_the_stated_magnitude_and_not_from_there_on(kernel):
    # Where signs differ, a minimum may be too large before a scale is.
    form, signs = kernel.form, np.outer([1, -1], np.ones(kernel.form.block))
    below, from_there = ((signs * form.infinite * factor).astype(np.float32) for factor in (0.999, 1))

    broken = ~np.isfinite(kernel.round_trip(from_there)).all(axis=1)
    assert np.isfinite(kernel.round_trip(below)).all()
    assert broken.sum() >= 1 + ("sign" in form.keeps or form.encode is not None)


places = st.lists(st.integers(0, 4095), min_size=1, max_size=3)


@given(batches(most=1), places)
def test_nan_is_not_lost(kernel, batch, at):
    assert survives(kernel, kernel.values(batch), at, np.nan)


@pytest.mark.parametrize("sign", [1, -1])
@given(batches(most=1), places)
@fewer(2)  # of each sign
def test_infinity_is_not_lost(kernel, sign, batch, at):
    assert survives(kernel, kernel.values(batch), at, sign * np.inf)


def survives(kernel, values, at, what):
    """Whether what is not finite is refused, or still not finite afterwards."""
    spoiled = poisoned(kernel, values, at, what)
    found = kernel.unless_refused(lambda: kernel.round_trip(spoiled))
    return found is None or not np.isfinite(found[0, [each % kernel.form.block for each in at]]).any()


def poisoned(kernel, values, at, what):
    """The first block has that in those places."""
    found = values.copy()
    found[0, [each % kernel.form.block for each in at]] = what
    return found


@given(batches(most=2), places, st.sampled_from((np.nan, np.inf, -np.inf)))
@fewer(2)
def test_what_is_not_finite_spoils_no_other_block(kernel, batch, at, what):
    values = kernel.values([batch[0], *batch])
    spoiled = poisoned(kernel, values, at, what)

    found = kernel.unless_refused(lambda: kernel.round_trip(spoiled))

    assert found is None or np.array_equal(found[1:], kernel.round_trip(values)[1:])
