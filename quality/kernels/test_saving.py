"""What is stored survives being saved, and maxima that are quantized themselves stay within their own bound."""

import numpy as np
import pytest
from hypothesis import given, settings

from fixtures.strategies import batches

# Of the signed map of 256 levels: half of the widest gap, which is also how far -1 is from the lowest level.
DYNAMIC_SHARE = 0.00703126


@pytest.mark.needs("saved")
@given(batches())
@settings(max_examples=40)
def test_saving_changes_nothing(kernel, batch):
    values = kernel.values(batch)

    saved = kernel.call("saved", form=kernel.form.name, values=values)

    for name, array in saved["before"].items():
        assert np.array_equal(array, saved["after"][name])


@pytest.mark.needs("nested")
@given(batches(most=6))
def test_maxima_quantized_too(kernel, batch):
    values = kernel.values(batch, margin=1e20)

    maxima = kernel.call("nested", form=kernel.form.name, values=values)

    exact, found = (maxima[name].astype(np.float64) for name in ("exact", "nested"))
    spread = np.abs(exact - exact.mean()).max()
    assert (np.abs(found - exact) <= DYNAMIC_SHARE * spread * (1 + 2.0**-10) + exact.max() * 2.0**-20).all()
