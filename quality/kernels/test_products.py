"""Products: of integers exact whatever the path, with quantized weights within the bound, and a row's result its own."""

import functools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fixtures.formats.graphs import Layer
from fixtures.strategies import fewer, seeds


@st.composite
def integer_matrices(draw):
    """Recipes of two matrices of any size up to an inner dimension of 4096; the left one uses its type's range, or half of it,
    which no path runs out of.
    """
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 33))
    inner = draw(st.integers(1, 70) | st.sampled_from((255, 256, 1023, 4096)))
    values = draw(st.sampled_from(("random", "extreme", "largest")))
    return rows, inner, columns, values, draw(st.sampled_from((1, 2))), draw(st.integers(0, 2**32 - 1))


def integers(dtype, shape, values, share, rng):
    """`share` divides the ends of the type's range."""
    low, high = (int(end / share) for end in (np.iinfo(dtype).min, np.iinfo(dtype).max))
    if values == "random":
        return rng.integers(low, high, shape, dtype, endpoint=True)
    return rng.choice((low, high, 0, 1) if values == "extreme" else (low or high,), shape).astype(dtype)


@pytest.mark.needs("integer product")
@given(integer_matrices(), st.booleans(), st.integers(0, 11))
@example((4, 1024, 48, "largest", 1, 0), False, 0)
def test_integer_product_is_exact(kernel, case, constant, optimization):
    rows, inner, columns, values, share, seed = case
    rng, form = np.random.default_rng(seed), kernel.form
    a = integers(form.left, (rows, inner), values, share, rng)
    b = integers(form.right, (inner, columns), values, 1, rng)
    kernel.admit(a)

    found = kernel.call(
        "multiply_integers", form=form.name, a=a, b=b, constant=constant, optimization=kernel.level(optimization)
    )

    assert np.array_equal(found, form.product(a, b))


BLOCKS = (16, 32, 64, 128, 256)


@functools.cache
def sizes(kernel):
    """Block, inner dimension, which need not be a multiple of it, and columns: all that no known defect spoils."""
    every = [
        (block, inner, columns)
        for block in BLOCKS
        for inner in (5, block - 1, block, block + 16, 2 * block, 3 * block)
        for columns in (*range(1, 41), 64)
    ]
    return [each for each in every if kernel.admits((each[2], each[1]))]


@dataclass(frozen=True)
class Matrices:
    """How to make activations [rows, inner], of a magnitude of about 2 ** exponent, and a weight [inner, columns].

    Which sizes there are, and how small values may be, the kernel tells.
    """

    size: int
    rows: int
    exponent: int
    seed: int

    def of(self, kernel):
        known = sizes(kernel)
        block, inner, columns = known[self.size % len(known)]
        rng = np.random.default_rng(self.seed)
        # Below the least step that an engine takes there is nothing but zeros to be had.
        scale = 2.0 ** max(self.exponent, -12 if kernel.form.least_step else -20)
        a = (rng.standard_normal((self.rows, inner)) * scale).astype(np.float32)
        weight = (rng.standard_normal((inner, columns)) * 2.0 ** rng.integers(-6, 6, columns)).astype(np.float32)
        return a, weight, block


def matrices():
    return st.builds(Matrices, st.integers(0, 2**16), st.integers(1, 5), st.integers(-20, 8), seeds())


def largest(form, weight):
    """Of each column; of all, where blocks reach from one into the next."""
    runs_on = form.running and len(weight) % form.running
    return np.abs(weight).max(axis=None if runs_on else 0)


@pytest.mark.needs("weight product")
@given(matrices(), st.booleans(), st.integers(0, 11))
def test_weight_product_is_within_the_bound(kernel, matrices, zeros, optimization):
    a, weight, block = matrices.of(kernel)

    found = kernel.call(
        "multiply",
        form=kernel.form.name,
        a=a,
        weight=weight,
        block=block,
        zeros=zeros,
        optimization=kernel.level(optimization),
    )

    wide, told, bias = kernel.form.given(a), found["weight"], found.get("bias", np.zeros(weight.shape[1]))
    # What is multiplied is the weight that was given.
    step = largest(kernel.form, weight) * 2.0 ** (1 - kernel.form.bits)
    assert (np.abs(told - weight) <= kernel.form.weight_error(step)).all()
    # What the library makes of that first, it makes of all of it.
    assert any(
        (np.abs(kernel.form.stored(found["product"]) - kernel.form.stored(wide @ way + bias))
         <= kernel.form.bound(wide, way, bias, block)).all()
        for way in found.get("ways", [told])
    )  # fmt: skip


@pytest.mark.needs("weight product", "rows apart")
@given(matrices(), st.booleans())
@fewer(3)
def test_rows_do_not_depend_on_each_other(kernel, matrices, zeros):
    assert_that_rows_are_apart(kernel, *matrices.of(kernel), zeros)


@pytest.mark.needs("weight product", "rows apart")
def test_a_row_beside_weights_that_it_hardly_counts_does_not_depend_on_others(kernel):
    # Sums of codes without a sign are ten times as large as the result.
    a = np.array([[0.00123015, 0.29874554, -0.27413785, -0.89059186, -0.4546708]], np.float32)
    column = np.array([[-40.268154], [10.926564], [-3.1565475], [-1.2669011], [-0.81904662]], np.float32)

    block, inner, columns = next(size for size in sizes(kernel) if size[0] == 32 and size[2] >= 29)
    rest = inner - len(column)

    assert_that_rows_are_apart(
        kernel,
        np.pad(a, ((0, 0), (0, rest))),
        np.pad(column, ((0, rest), (0, 0))).repeat(columns, axis=1),
        block,
        zeros=False,
    )


def assert_that_rows_are_apart(kernel, a, weight, block, zeros):
    arguments = {"form": kernel.form.name, "weight": weight, "block": block, "zeros": zeros}
    louder = np.concatenate([a, 100 * a[:1]])

    found = kernel.call("multiply", a=a, **arguments)
    alone, told, bias = found["product"], found["weight"], found.get("bias", np.zeros(weight.shape[1]))
    among = kernel.call("multiply", a=louder, **arguments)["product"][: len(a)]

    # Rounded or not, the activations are the same ones: what may differ is the order of sums.
    apart = np.abs(kernel.form.stored(alone) - kernel.form.stored(among))
    assert (apart <= kernel.form.apart(kernel.form.given(a), told, bias, block)).all()


def spoiled_product(kernel, drawn, zeros, at):
    """What becomes of the product, None if it is refused, when one of the activations is no number; which rows have it."""
    a, weight, block = drawn.of(kernel)
    spoiled, row = a.copy(), at % len(a)
    spoiled[row, at % a.shape[1]] = np.nan
    arguments = {"form": kernel.form.name, "weight": weight, "block": block, "zeros": zeros}
    found = kernel.unless_refused(lambda: kernel.call("multiply", a=spoiled, **arguments)["product"])
    return found, np.arange(len(a)) == row


@pytest.mark.needs("weight product")
@given(matrices(), st.booleans(), st.integers(0, 2**16))
@fewer(8)
def test_nan_in_a_product_is_not_lost(kernel, matrices, zeros, at):
    found, lost = spoiled_product(kernel, matrices, zeros, at)

    assert found is None or not np.isfinite(found[lost]).any()


@pytest.mark.needs("weight product", "rows apart")
@given(matrices(), st.booleans(), st.integers(0, 2**16))
@fewer(8)
def test_nan_in_a_row_spoils_no_other(kernel, matrices, zeros, at):
    a, weight, block = matrices.of(kernel)
    clean = kernel.call("multiply", form=kernel.form.name, a=a, weight=weight, block=block, zeros=zeros)["product"]

    found, lost = spoiled_product(kernel, matrices, zeros, at)

    assert found is None or np.array_equal(found[~lost], clean[~lost])


@pytest.fixture
def with_threads(kernel):
    """with_threads(count, method, **arguments): the call's answer, computed on so many cores."""

    def ask(count, method, **arguments):
        kernel.call("set_threads", form=kernel.form.name, threads=count)
        return kernel.call(method, form=kernel.form.name, **arguments)

    yield ask
    kernel.call("set_threads", form=kernel.form.name, threads=0)


@pytest.mark.needs("integer product", "set_threads")
@given(integer_matrices())
@fewer(13)
def test_integer_product_is_the_same_on_any_number_of_cores(kernel, with_threads, case):
    rows, inner, columns, values, share, seed = case
    rng, form = np.random.default_rng(seed), kernel.form
    a = integers(form.left, (rows, inner), values, share, rng)
    b = integers(form.right, (inner, columns), values, 1, rng)
    kernel.admit(a)

    one, three = (with_threads(count, "multiply_integers", a=a, b=b) for count in (1, 3))

    assert np.array_equal(one, three)


@pytest.mark.needs("weight product", "set_threads")
@given(matrices(), st.booleans())
@fewer(13)
def test_weight_product_is_the_same_on_any_number_of_cores(kernel, with_threads, matrices, zeros):
    a, weight, block = matrices.of(kernel)

    one, three = (with_threads(n, "multiply", a=a, weight=weight, block=block, zeros=zeros) for n in (1, 3))

    told, bias = one["weight"], one.get("bias", np.zeros(weight.shape[1]))
    apart = np.abs(kernel.form.stored(one["product"]) - kernel.form.stored(three["product"]))
    assert np.array_equal(told, three["weight"])
    assert (apart <= kernel.form.apart(kernel.form.given(a), told, bias, block)).all()


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
