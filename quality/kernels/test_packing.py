"""Packing: words are the bit stream of their codes, a code is no business of its neighbours, and reading gives them back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.strategies import seeds

pytestmark = pytest.mark.needs("packing")


@st.composite
def layers(draw):
    """Codes [inputs, outputs] and zeros [groups, outputs] of eight bits, to be cut to the form's; scales that float16 has; and
    each input's group.
    """
    inputs, outputs = draw(st.sampled_from((64, 128, 256))), draw(st.sampled_from((32, 96)))
    size = draw(st.sampled_from((32, 64, inputs)))
    return layer(
        np.random.default_rng(draw(st.integers(0, 2**32 - 1))),
        inputs,
        outputs,
        size,
        draw(st.sampled_from((None, 0, 255))),
    )


def layer(rng, inputs, outputs, size, constant=None):
    # Bytes, of which a property's many examples are kept.
    shape, any_code = (inputs, outputs), constant is None
    codes = rng.integers(0, 256, shape, np.uint8) if any_code else np.full(shape, constant, np.uint8)
    zeros = rng.integers(0, 256, (inputs // size, outputs))
    scales = np.exp2(rng.uniform(-10, 0, zeros.shape)).astype(np.float16).astype(np.float32)
    return codes, zeros, scales, np.arange(inputs) // size


def cut(form, codes, zeros):
    """To the form's bits; no zero is less than what the form can say."""
    return codes.astype(np.int64) & (2**form.bits - 1), np.maximum(zeros & (2**form.bits - 1), form.less)


def weight_of(codes, zeros, scales, groups):
    """[outputs, inputs] in float32: exact, since a float16 times such an integer fits."""
    return ((codes - zeros[groups]) * scales[groups]).astype(np.float32).T


def packed(kernel, weight, scales, zeros, groups, **way):
    return kernel.call("pack", form=kernel.form.name, weight=weight, scales=scales, zeros=zeros, groups=groups, **way)


@given(layers())
def test_words_are_the_stream_of_codes(kernel, layer):
    codes, zeros = cut(kernel.form, *layer[:2])
    scales, groups = layer[2:]

    found = packed(kernel, weight_of(codes, zeros, scales, groups), scales, zeros, groups)

    for name, words in kernel.form.words(codes, zeros).items():
        assert np.array_equal(found[name], words), name


@pytest.mark.needs("grouped by index")
def test_words_of_more_inputs_than_are_packed_at_once(kernel):
    # gptqmodel packs 8192 inputs a thread.
    codes, zeros, scales, groups = layer(np.random.default_rng(0), 2 * 8192 + 256, 32, 128)
    codes, zeros = cut(kernel.form, codes, zeros)

    found = packed(kernel, weight_of(codes, zeros, scales, groups), scales, zeros, groups)

    assert all(np.array_equal(found[name], words) for name, words in kernel.form.words(codes, zeros).items())


@pytest.mark.needs("ways to pack")
@given(layers())
def test_all_ways_to_pack_agree(kernel, layer):
    codes, zeros = cut(kernel.form, *layer[:2])
    scales, groups = layer[2:]
    weight = weight_of(codes, zeros, scales, groups)

    first, *others = (packed(kernel, weight, scales, zeros, groups, way=way) for way in kernel.kernel.adapter.packers)

    assert all(np.array_equal(first[name], other[name]) for other in others for name in first)


@given(layers(), st.integers(0, 255), st.integers(0, 95), st.sampled_from((-40.0, 300.0)))
def test_a_weight_off_the_grid_spoils_no_neighbour(kernel, layer, row, column, steps):
    codes, zeros = cut(kernel.form, *layer[:2])
    scales, groups = layer[2:]
    row, column = row % len(codes), column % codes.shape[1]
    weight = weight_of(codes, zeros, scales, groups)
    weight[column, row] = steps * scales[groups[row], column]
    expected = codes.copy()
    expected[row, column] = np.clip(steps + zeros[groups[row], column], 0, 2**kernel.form.bits - 1)

    found = packed(kernel, weight, scales, zeros, groups)

    assert np.array_equal(found["qweight"], kernel.form.words(expected, zeros)["qweight"])


@pytest.mark.needs("zeros less one")
@given(layers(), st.integers(0, 95))
def test_a_zero_that_cannot_be_said_spoils_no_neighbour(kernel, layer, column):
    codes, zeros = cut(kernel.form, *layer[:2])
    scales, groups = layer[2:]
    column %= scales.shape[1]
    others = np.arange(scales.shape[1]) != column
    zeros[0, column] = 0

    found = packed(kernel, weight_of(codes, zeros, scales, groups), scales, zeros, groups)

    assert np.array_equal(kernel.form.zeros(found["qzeros"])[:, others], zeros[:, others])


@pytest.mark.needs("unpack")
@given(layers())
def test_reading_gives_the_weights(kernel, layer):
    codes, zeros = cut(kernel.form, *layer[:2])
    scales, groups = layer[2:]

    found = kernel.call(
        "unpack", form=kernel.form.name, **kernel.form.words(codes, zeros), scales=scales, groups=groups
    )

    # The library multiplies in float16.
    expected = weight_of(codes, zeros, scales, groups).T.astype(np.float16).astype(np.float32)
    assert np.array_equal(found, expected)


@pytest.mark.needs("ways to read")
@given(seeds())
def test_all_ways_to_read_agree(kernel, seed):
    # Of one shape, for which a way may have to be compiled.
    codes, zeros, scales, groups = layer(np.random.default_rng(seed), 128, 96, 64)
    codes, zeros = cut(kernel.form, codes, zeros)
    words = kernel.form.words(codes, zeros)

    first, *others = (
        kernel.call("unpack", form=kernel.form.name, **words, scales=scales, groups=groups, way=way)
        for way in kernel.kernel.adapter.readers
    )

    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.needs("unpack", "grouped by index")
@given(layers(), seeds())
def test_groups_may_lie_scattered(kernel, layer, seed):
    codes, zeros = cut(kernel.form, *layer[:2])
    scales, groups = layer[2], np.random.default_rng(seed).permutation(layer[3])
    weight = weight_of(codes, zeros, scales, groups)

    words = packed(kernel, weight, scales, zeros, groups)
    found = kernel.call("unpack", form=kernel.form.name, **words, scales=scales, groups=groups)

    assert np.array_equal(found, weight.T.astype(np.float16).astype(np.float32))


@pytest.mark.needs("shift_zeros", "grouped by index")
@given(layers())
def test_a_full_zero_spoils_no_neighbour(kernel, layer):
    # What version 1 stores of a zero of none: all bits set, which one more empties.
    stored = layer[1] & (2**kernel.form.bits - 1)

    found = kernel.call("shift_zeros", form=kernel.form.name, qzeros=kernel.form.words(layer[0] & 1, stored)["qzeros"])

    expected = (stored + 1) % 2**kernel.form.bits
    assert np.array_equal(found, kernel.form.words(layer[0] & 1, expected)["qzeros"])


@pytest.mark.needs("shift_zeros", "grouped by index")
@given(layers())
def test_version_one_becomes_version_two(kernel, layer):
    zeros = np.maximum(layer[1] & (2**kernel.form.bits - 1), 1)  # version 1 cannot say zero

    stored = kernel.form.words(layer[0] & 1, zeros - 1)["qzeros"]
    found = kernel.call("shift_zeros", form=kernel.form.name, qzeros=stored)

    assert np.array_equal(found, kernel.form.words(layer[0] & 1, zeros)["qzeros"])
