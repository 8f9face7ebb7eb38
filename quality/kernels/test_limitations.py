"""Documented limitations: what a library or a format says that it does not do, asserted exactly where that begins.

No defects, and no format's error either: whoever deploys has to know them, and a release that lifts one should be noticed.
"""

import numpy as np
import pytest


def layer(rows):
    """Activations [rows, 64], the weight's 40 columns."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 64)).astype(np.float32), rng.standard_normal((64, 40)).astype(np.float32)


@pytest.mark.needs("weight product", "rows together")
def test_rows_share_the_scale_of_their_call(kernel):
    # PyTorch's dynamic quantization takes one scale for all rows: a louder one makes the others coarse, a softer one does not.
    a, weight = layer(4)
    arguments = {"form": kernel.form.name, "weight": weight, "block": 64, "zeros": False}

    alone = kernel.call("multiply", a=a, **arguments)["product"]
    softer = kernel.call("multiply", a=np.concatenate([a, 0.5 * a[:1]]), **arguments)["product"]
    louder = kernel.call("multiply", a=np.concatenate([a, 100 * a[:1]]), **arguments)["product"]

    assert np.array_equal(softer[:4], alone)
    assert np.abs(louder[:4] - alone).max() > 0.1 * np.abs(alone).max()


@pytest.mark.needs("weight product", "least step")
def test_no_step_is_smaller_than_the_least(kernel):
    # ChooseQuantizationParams cuts off small scales: activations all of which are below half of that one are zeros to it.
    least, weight = kernel.form.least_step, np.ones((1, 8), np.float32)
    arguments = {"form": kernel.form.name, "weight": weight, "block": 64, "zeros": False}

    lost, kept = (
        kernel.call("multiply", a=np.full((1, 1), share * least, np.float32), **arguments) for share in (0.499, 0.501)
    )

    assert (lost["product"] == 0).all()
    assert np.allclose(kept["product"], least * kept["weight"], rtol=1e-6, atol=0)


@pytest.mark.needs("quantize", "no lowest level")
def test_the_negative_of_a_blocks_largest_has_no_level(kernel):
    # The signed map of "8-bit Optimizers via Block-wise Quantization" reaches 1, but not -1.
    lowest = float(kernel.form.levels[0])
    values = np.full((1, kernel.form.block), -1.0, np.float32)

    once = kernel.round_trip(values)
    twice = kernel.round_trip(once)

    assert -1 < lowest < -0.99
    assert (once == np.float32(lowest)).all()
    assert np.abs(twice + lowest**2).max() < 1e-6


@pytest.mark.needs("weight product", "block sizes")
def test_blocks_of_the_stated_sizes_and_no_others(kernel):
    # ONNX Runtime's ContribOperators.md: a power of two from 16 on; its quantizer goes up to 256.
    sizes = kernel.kernel.adapter.block_sizes
    a, weight = layer(2)
    others = (min(sizes) // 2, min(sizes) + 8, 2 * max(sizes))

    refused = {
        size for size in (*sizes, *others) if kernel.refuses("multiply", a=a, weight=weight, zeros=False, block=size)
    }

    assert refused == set(others)


@pytest.mark.needs("refused weight product")
def test_a_product_that_there_is_not_is_refused(kernel):
    # ONNX Runtime on a CPU has zeros in floats and scattered groups in four bits; in two not both, in eight neither.
    a, weight = layer(2)

    assert kernel.refuses("multiply", a=a, weight=weight, zeros=True, block=32)


@pytest.mark.needs("shaped", "whole blocks")
@pytest.mark.parametrize("more", [1, -1])
def test_a_row_of_a_part_of_a_block_is_refused(kernel, more):
    # GGUF has no such tensors.
    whole = np.ones((2, 2 * kernel.form.block), np.float32)
    part = np.ones((2, 2 * kernel.form.block + more), np.float32)

    assert not kernel.refuses("shaped", values=whole, storage="uint8")
    assert kernel.refuses("shaped", values=part, storage="uint8")


@pytest.mark.needs("packing", "zeros less one")
def test_a_zero_of_none_cannot_be_said(kernel):
    # Version 1 of GPTQ's format stores each zero less one, in as many bits as a code has.
    form, groups = kernel.form, np.zeros(32, np.int64)
    zeros, scales = np.ones((1, 32), np.int64), np.ones((1, 32), np.float32)
    least, none = form.words(np.zeros((32, 32), np.int64), zeros), 2**form.bits

    words = {"qweight": least["qweight"], "qzeros": np.full_like(least["qzeros"], -1)}
    found = kernel.call("unpack", form=form.name, **words, scales=scales, groups=groups)

    assert (found == -none).all()
