"""How an array lies in memory, and what float type it has, is none of a kernel's business while the values are the same."""

import numpy as np
import pytest
from hypothesis import given

from fixtures.kernel import LAYOUTS
from fixtures.strategies import batches, fewer

pytestmark = pytest.mark.needs("quantize")


def equal(first, second):
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.needs("layouts")
@pytest.mark.parametrize("layout", LAYOUTS[1:])
@given(batches())
@fewer(6)
def test_layout_of_the_input(kernel, layout, batch):
    values = kernel.values(batch)

    assert equal(kernel.quantize(values, layout=layout), kernel.quantize(values))


@pytest.mark.needs("dtypes")
@given(batches())
@fewer(3)
def test_type_of_the_input(kernel, batch):
    # float16 in its normal range: every other type that is tried has these values too, but for bfloat16's bits.
    values = np.clip(kernel.values(batch), -30000, 30000).astype(np.float16).astype(np.float32)
    short = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)

    for dtype in kernel.kernel.adapter.dtypes:
        told = short if dtype == "bfloat16" else values
        assert equal(kernel.quantize(told, dtype=dtype), kernel.quantize(told)), dtype
