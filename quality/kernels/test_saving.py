"""What is stored survives being saved, and maxima that are quantized themselves stay within their own bound."""

import numpy as np
import pytest
from hypothesis import example, given

from fixtures.strategies import Block, batches, fewer, seeds

# Of the signed map of 256 levels: half of the widest gap, which is also how far -1 is from the lowest level.
DYNAMIC_SHARE = 0.00703126


@pytest.mark.needs("saved")
@given(batches())
@example([Block("constant", 0), *2 * [Block("constant", 127)]])  # too large a sum: nested maxima are NaN
@fewer(5)
def test_saving_changes_nothing(kernel, batch):
    values = kernel.values(batch)

    saved = kernel.call("saved", form=kernel.form.name, values=values)

    for name, array in saved["before"].items():
        assert np.array_equal(array, saved["after"][name], equal_nan=True)


@pytest.mark.needs("nested")
@given(batches(), seeds())
@example([Block("uniform", 0, 1)], 40)  # a maximum whose code the table of limited fineness misses
@fewer(4)
def test_maxima_quantized_too(kernel, batch, seed):
    # More than two blocks of 256 maxima, the last of them a part of one; from float32's largest number their sum is far away.
    rng, few = np.random.default_rng(seed), kernel.values(batch, margin=1e20)
    values = few[rng.integers(len(few), size=600)] * np.exp2(rng.uniform(-8, 0, (600, 1))).astype(np.float32)

    maxima = kernel.call("nested", form=kernel.form.name, values=values)

    exact, found = (maxima[name].astype(np.float64) for name in ("exact", "nested"))
    away, block = np.abs(exact - exact.mean()), maxima["block"]
    spread = np.array([away[at // block * block :][:block].max() for at in range(len(away))])
    # A table of limited fineness finds the codes of this map, as `test_nearly_the_nearest_choice` says.
    assert (np.abs(found - exact) <= (DYNAMIC_SHARE + 2.0**-13) * spread + exact.max() * 2.0**-20).all()
