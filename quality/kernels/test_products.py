"""Products: of integers exact whatever the path, with quantized weights within the bound, and a row's result its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.formats.graphs import Layer
from fixtures.strategies import fewer


@st.composite
def integer_matrices(draw):
    """Two recipes of matrices of any size up to an inner dimension of 4096, random or of extreme values."""
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 33))
    inner = draw(st.integers(1, 70) | st.sampled_from((255, 256, 1023, 4096)))
    return rows, inner, columns, draw(st.booleans()), draw(st.integers(0, 2**32 - 1))


def integers(dtype, shape, extreme, rng):
    information = np.iinfo(dtype)
    if extreme:
        return rng.choice((information.min, information.max, 0, 1), shape).astype(dtype)
    return rng.integers(information.min, information.max, shape, dtype, endpoint=True)


@pytest.mark.needs("integer product")
@given(integer_matrices(), st.booleans(), st.integers(0, 11))
def test_integer_product_is_exact(kernel, case, constant, optimization):
    rows, inner, columns, extreme, seed = case
    rng, form = np.random.default_rng(seed), kernel.form
    a, b = integers(form.left, (rows, inner), extreme, rng), integers(form.right, (inner, columns), extreme, rng)
    kernel.admit(a)

    found = kernel.call(
        "multiply_integers", form=form.name, a=a, b=b, constant=constant, optimization=kernel.level(optimization)
    )

    assert np.array_equal(found, form.product(a, b))


@pytest.mark.needs("integer product")
def test_integer_product_of_the_largest(kernel):
    form = kernel.form
    left, right = (np.iinfo(dtype).min or np.iinfo(dtype).max for dtype in (form.left, form.right))
    a, b = np.full((4, 1024), left, form.left), np.full((1024, 48), right, form.right)

    found = kernel.call("multiply_integers", form=form.name, a=a, b=b)

    assert np.array_equal(found, form.product(a, b))


@st.composite
def weight_matrices(draw):
    """Activations [rows, inner] and a weight [inner, columns]; the inner dimension need not be a multiple of the block."""
    block = draw(st.sampled_from((16, 32, 64, 128, 256)))
    inner = draw(st.sampled_from((block, 2 * block, 3 * block, block + 16, block - 1, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    scale = 2.0 ** draw(st.integers(-8, 8))
    a = (rng.standard_normal((rows, inner)) * scale).astype(np.float32)
    weight = (rng.standard_normal((inner, columns)) * 2.0 ** rng.integers(-6, 6, columns)).astype(np.float32)
    return a, weight, block


def largest(form, weight):
    """Of each column; of all, where the smallest blocks that there are reach from one into the next."""
    return np.abs(weight).max(axis=None if form.running and len(weight) % 32 else 0)


@pytest.mark.needs("weight product")
@given(weight_matrices(), st.booleans(), st.integers(0, 11))
def test_weight_product_is_within_the_bound(kernel, case, zeros, optimization):
    a, weight, block = case
    kernel.admit(weight.T)

    found = kernel.call(
        "multiply",
        form=kernel.form.name,
        a=a,
        weight=weight,
        block=block,
        zeros=zeros,
        optimization=kernel.level(optimization),
    )

    wide, told = a.astype(np.float64), found["weight"]
    # A step and a third of the largest: what is multiplied is the weight that was given.
    step = largest(kernel.form, weight) * 2.0 ** (1 - kernel.form.bits)
    assert (np.abs(told - weight) <= 1.34 * step).all()
    assert (np.abs(found["product"] - wide @ told) <= kernel.form.bound(wide, told, block)).all()


@pytest.mark.needs("weight product", "rows apart")
@given(weight_matrices(), st.booleans())
@fewer(3)
def test_rows_do_not_depend_on_each_other(kernel, case, zeros):
    a, weight, block = case
    arguments = {"form": kernel.form.name, "weight": weight, "block": block, "zeros": zeros}
    kernel.admit(weight.T)
    louder = np.concatenate([a, 100 * a[:1]])

    alone, told = (kernel.call("multiply", a=a, **arguments)[name] for name in ("product", "weight"))
    among = kernel.call("multiply", a=louder, **arguments)["product"][: len(a)]

    # Rounded or not, the activations are the same ones: what may differ is the order of sums.
    assert (np.abs(alone - among) <= 2 * kernel.form.summation(a.astype(np.float64), told)).all()


@st.composite
def quantized_layers(draw, form):
    """Activations, and a weight of that form's integers with a scale and a zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, inner, columns = draw(st.integers(1, 5)), draw(st.integers(1, 70)), draw(st.integers(1, 40))
    a = (rng.standard_normal((rows, inner)) * 2.0 ** draw(st.integers(-8, 8))).astype(np.float32)
    low, high, zero = (0, 256, draw(st.integers(0, 255))) if form.dtype == "uint8" else (-64, 65, 0)
    return Layer(a, rng.integers(low, high, (inner, columns)), 2.0**-7 * (1 + rng.random()), zero)


@pytest.mark.needs("graph")
@given(st.data(), st.integers(0, 11))
@fewer(4)
def test_a_rewritten_graph_says_what_its_operators_do(kernel, data, optimization):
    layer = data.draw(quantized_layers(kernel.form))

    found = kernel.call("run_graph", form=kernel.form.name, **vars(layer), optimization=kernel.level(optimization))

    assert (np.abs(found - kernel.form.expected(layer)) <= kernel.form.allowed(layer)).all()
