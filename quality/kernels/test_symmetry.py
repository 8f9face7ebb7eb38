"""What a format promises of itself: of signs, of powers of two, of doing it twice, of order."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fixtures.format import has_normal_scales
from fixtures.strategies import Block, batches

pytestmark = pytest.mark.needs("quantize")


@pytest.mark.needs("sign")
@given(batches())
def test_sign(kernel, batch):
    values = kernel.values(batch)

    assert np.array_equal(kernel.round_trip(-values), -kernel.round_trip(values))


@pytest.mark.needs("scale")
@given(batches(), st.integers(-3, 3))
@example([Block("sparse", 0, 1516, ((0, "-tiny"),))], 1)  # zeros but for one value, once below the range
def test_powers_of_two(kernel, batch, exponent):
    # So far inside the range that no scale or reciprocal is a subnormal number on either side.
    values = kernel.values(batch, margin=2.0**6, normal=True)

    once, scaled = (kernel.quantize(each) for each in (values, np.ldexp(values, exponent).astype(np.float32)))

    # A block's minimum may be so small that float16 has fewer bits for it on one side.
    exact = has_normal_scales(kernel.form, once) & has_normal_scales(kernel.form, scaled)
    kernel.suppose(exact.any())
    assert np.array_equal(kernel.decode(scaled)[exact], np.ldexp(kernel.decode(once), exponent)[exact])


@pytest.mark.needs("idempotent")
@given(batches())
def test_twice_is_once(kernel, batch):
    once = kernel.round_trip(kernel.values(batch))

    assert np.array_equal(kernel.round_trip(once), once)


@pytest.mark.needs("nearly idempotent")
@given(batches())
def test_twice_is_once_near_zero(kernel, batch):
    values = kernel.values(batch, margin=2.0, normal=True)
    stored = kernel.quantize(values)
    once = kernel.decode(stored)

    # Farther from zero float32 has too few bits for the steps of a result; a subnormal scale has too few itself.
    near = np.abs(once).max(axis=1) <= 256 * np.ptp(once, axis=1)
    kept = once[near & has_normal_scales(kernel.form, stored)]
    kernel.suppose(len(kept) > 0)
    assert np.array_equal(kernel.round_trip(kept), kept)


@pytest.mark.needs("monotone")
@given(batches())
def test_order_of_values(kernel, batch):
    values = kernel.values(batch)

    found = kernel.round_trip(values)

    for row, became in zip(values, found.astype(np.float64), strict=True):
        assert (np.diff(became[np.argsort(row, kind="stable")]) >= 0).all()
