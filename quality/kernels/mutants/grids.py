"""Grids, products and packings that are wrong."""

import numpy as np

from fixtures.format import rounded
from fixtures.formats import affine, float8, graphs, packed_words, products
from fixtures.kernel import Kernels
from fixtures.launcher import WorkerError
from fixtures.mutant import Mutant, codes_of, in_one_range, multiply, rounded_weight, shift_zeros, unpack
from fixtures.packed import AWQ_ORDER, pack

LINEAR, TORCH = affine.ONNX["linear_u8"], affine.TORCH["per_channel_i8"]
U8I8, I8I8 = products.INTEGER_PRODUCTS["u8xi8"], products.INTEGER_PRODUCTS["i8xi8"]
CALL = products.DYNAMIC_PRODUCTS["x86_dynamic_product"]
DYNAMIC, QDQ = graphs.GRAPHS["dynamic_layer"], graphs.GRAPHS["qdq_layer"]
BIAS, HALF = products.NBITS_PRODUCTS["nbits4_product_bias"], products.NBITS_PRODUCTS["nbits4_product_half"]
LAYER = products.LAYERS["nf4_layer"]
E4M3, E5M2 = float8.ONNX["linear_e4m3fn"], float8.ONNX["linear_e5m2"]
TINY, BLOCKED = affine.TORCHAO["tinygemm_u4"], affine.ONNX["blocks_u8"]
NBITS, ROUNDED = products.NBITS_PRODUCTS["nbits4_product"], products.NBITS_PRODUCTS["nbits4_product_int8"]
GPTQ3, GPTQ4, AWQ = packed_words.GPTQ["gptq3"], packed_words.GPTQ["gptq4"], packed_words.AWQ["awq4"]


def to_linear(rounding=np.rint, saturate=True):
    def to_integers(values, scales, zeros, **_):
        codes = rounding(values / scales[:, None]) + zeros[:, None]
        return (codes.clip(0, 255) if saturate else codes.clip(-1e9, 1e9)).astype(np.int64) % 256

    return to_integers


def tail_truncated(values, scales, zeros, **_):
    codes = LINEAR.codes(values, scales, zeros)
    tail = values.shape[1] % 8
    if tail:
        codes[:, -tail:] = (np.floor(values[:, -tail:] / scales[:, None]) + zeros[:, None]).clip(0, 255)
    return codes


def axis_mixed_up(values, scales, zeros, **_):
    along = np.resize(scales, values.shape[1]), np.resize(zeros, values.shape[1])
    return np.rint(values / along[0] + along[1]).clip(-128, 127).astype(np.int64)


def difference_wraps(codes, scales, zeros, **_):
    difference = (codes.astype(np.uint8) - zeros[:, None].astype(np.uint8)).astype(np.int8)
    return difference.astype(np.float32) * scales[:, None]


def saturating_pairs(a, b, **_):
    """Products added two at a time in int16, which saturates: x86's vpmaddubsw."""
    wide = a.astype(np.int64)[:, :, None] * b.astype(np.int64)[None]
    padded = np.pad(wide, ((0, 0), (0, wide.shape[1] % 2), (0, 0)))
    pairs = padded.reshape(len(a), -1, 2, b.shape[1]).sum(axis=2)
    return pairs.clip(-(2**15), 2**15 - 1).sum(axis=1)


def sign_dropped(a, b, **_):
    return a.astype(np.int64) @ b.view(np.uint8).astype(np.int64)


def odd_row_lost(a, b, constant=False, **_):
    kept = a.shape[1] - (a.shape[1] % 2 if constant else 0)
    return a[:, :kept].astype(np.int64) @ b[:kept].astype(np.int64)


def large_blocks_silent(a, weight, block, zeros, **_):
    found = multiply(NBITS, a, weight, block, zeros)
    return found if block < 256 else {**found, "product": np.zeros_like(found["product"])}


def last_block_partial(a, weight, block, zeros, **_):
    found, whole = multiply(NBITS, a, weight, block, zeros), len(weight) // block * block
    return {**found, "product": (a[:, :whole].astype(np.float64) @ found["weight"][:whole]).astype(np.float32)}


def one_activation_scale(a, weight, block, zeros, **_):
    """Activations rounded with one scale for all rows: a loud row makes the others coarse."""
    told, step = rounded_weight(weight, 4, block, zeros), np.abs(a).max() / 127 or 1
    return {"product": (np.rint(a.astype(np.float64) / step) * step @ told).astype(np.float32), "weight": told}


def no_clamp(form):
    def packing(weight, scales, zeros, groups, **_):
        codes = np.rint(weight.T / scales[groups]).astype(np.int64) + zeros[groups]
        words = np.zeros((len(codes) * form.bits // 32, codes.shape[1]), np.int64)
        per_word = 32 // form.bits
        for at in range(len(codes)):
            words[at // per_word] |= codes[at] << form.bits * (at % per_word)
        return {"qweight": words.astype(np.uint32).view(np.int32), "qzeros": form.words(codes & 1, zeros)["qzeros"]}

    return packing


def spill_lost(weight, scales, zeros, groups, **_):
    """Three bits that cross a word's end lose what lies beyond it."""
    words = dict(GPTQ3.words(codes_of(GPTQ3, weight, scales, zeros, groups), zeros))
    words["qweight"] = words["qweight"].copy()
    words["qweight"][1::3] &= ~1
    return words


def awq_packed(order):
    def packing(weight, scales, zeros, groups, **_):
        codes = codes_of(AWQ, weight, scales, zeros, groups)
        codes, zeros = (each.reshape(len(each), -1, 8)[:, :, order].reshape(each.shape) for each in (codes, zeros))
        return {"qweight": pack(codes, 4), "qzeros": pack(zeros, 4)}

    return packing


def carry(qzeros):
    """One added to each word's codes at once: where a code is full, the next one is raised too."""
    return (np.ascontiguousarray(qzeros).view(np.uint32) + np.uint32(0x11111111)).view(np.int32)


def first_word_alone(qzeros):
    """Only the first word of each row is raised."""
    found = np.array(qzeros)
    found[:, 0] = shift_zeros(GPTQ4, np.ascontiguousarray(qzeros))[:, 0]
    return found


def sign_extended(qweight, qzeros, scales, groups):
    shifted = np.repeat(qweight, 8, axis=0) >> np.tile(4 * np.arange(8), len(qweight))[:, None]
    codes = np.where(np.arange(len(shifted))[:, None] % 8 == 7, shifted, shifted & 15)
    zeros = np.repeat(qzeros, 8, axis=1) >> np.tile(4 * np.arange(8), qzeros.shape[1]) & 15
    return ((codes - zeros[groups]) * scales[groups]).astype(np.float16).astype(np.float32)


def groups_ignored(qweight, qzeros, scales, groups):
    return unpack(GPTQ4, qweight, qzeros, scales, np.arange(len(groups)) * len(scales) // len(groups))


def zeros_too_high(qweight, qzeros, scales, groups):
    return unpack(GPTQ4, qweight, qzeros, scales, groups) - scales[groups]


def weight_zero_dropped(a, weight, scale, zero, **_):
    return DYNAMIC.expected(graphs.Layer(a, weight, scale, 0 * zero))


def scale_too_large(a, weight, scale, zero, **_):
    return DYNAMIC.expected(graphs.Layer(a, weight, scale, zero)) / np.float32(scale) * np.float32(1.001 * scale)


def result_cut_off(a, weight, scale, zero, **_):
    layer = graphs.Layer(a, weight, scale, zero)
    step = QDQ.grid(a.astype(np.float64) @ layer.meant)[0][0]
    return np.floor(QDQ.expected(layer) / step) * step


def even_rows_doubled(a, weight, scale, zero, **_):
    layer = graphs.Layer(a, weight, scale, zero)
    return np.where(np.arange(len(a))[:, None] % 2, QDQ.expected(layer), 2 * QDQ.expected(layer))


class Blocks(Kernels):
    """A library whose blocks have some sizes, and no others."""

    block_sizes = (16, 32, 64, 128, 256)


def sizes_refused(a, weight, block, zeros, **_):
    if block not in Blocks.block_sizes:
        raise WorkerError("numpy", "failed", f"no blocks of {block}")
    return multiply(NBITS, a, weight, block, zeros)


def any_size(a, weight, block, zeros, **_):
    return multiply(NBITS, a, weight, block, zeros)


def rows_apart(a, weight, block, zeros, **_):
    told, rows = rounded_weight(weight, 8, len(weight), zeros), a.astype(np.float64)
    return {
        "product": np.concatenate([in_one_range(row[None], 127, CALL.least_step) for row in rows]) @ told,
        "weight": told,
    }


def any_step(a, weight, block, zeros, **_):
    told = rounded_weight(weight, 8, len(weight), zeros)
    return {"product": in_one_range(a.astype(np.float64)) @ told, "weight": told}


def activations_cut_off(a, weight, block, zeros, **_):
    """Activations are cut off, not rounded."""
    told, wide = rounded_weight(weight, 8, len(weight), zeros), a.astype(np.float64)
    step = max((max(a.max(), 0) - min(a.min(), 0)) / 127, CALL.least_step)
    return {"product": np.floor(wide / step) * step @ told, "weight": told}


def bias_dropped(a, weight, block, zeros, **_):
    found = multiply(BIAS, a, weight, block, zeros)
    return {**found, "product": found["product"] - found["bias"].astype(np.float32)}


def summed_in_half(a, weight, block, zeros, **_):
    found, sums = multiply(HALF, a, weight, block, zeros), np.zeros((len(a), weight.shape[1]), np.float16)
    for at, row in enumerate(found["weight"].astype(np.float16)):
        sums += a[:, at : at + 1].astype(np.float16) * row
    return {**found, "product": sums.astype(np.float32)}


def summed_in_bfloat16(a, weight, block, zeros, **_):
    found, sums = multiply(LAYER, a, weight, block, zeros), np.zeros((len(a), weight.shape[1]), np.float32)
    for at, row in enumerate(found["weight"].astype(np.float32)):
        sums = rounded(sums + rounded(a[:, at : at + 1], "bfloat16") * row, "bfloat16")
    return {**found, "product": rounded(sums + found["bias"].astype(np.float32), "bfloat16")}


def with_sizes(change):
    """Bytes of E4M3, of ratios whose magnitudes are changed."""

    def to_integers(values, scales, zeros, **_):
        ratio = values / scales[:, None]
        return E4M3.codes(np.copysign(change(np.abs(ratio)), ratio).astype(np.float32), np.ones_like(scales), zeros)

    return to_integers


def overflow_to_nan(values, scales, zeros, **_):
    return np.where(np.abs(values / scales[:, None]) > 464, 0x7F, E4M3.codes(values, scales, zeros))


def upwards(size):
    return np.nextafter(size, np.float32(np.inf))


def flushed(size):
    return np.where(size < 2.0**-6, 0, size)


def just_too_large_to_nan(values, scales, zeros, **_):
    """What rounds to the number after the largest."""
    size = np.abs(values / scales[:, None])
    return np.where((size > 464) & (size < 480), 0x7F, E4M3.codes(values, scales, zeros))


def nan_to_infinity(values, scales, zeros, **_):
    return np.where(np.isnan(values), 0x7C, E5M2.codes(values, scales, zeros))


def nan_is_zero(values, scales, zeros, **_):
    return np.where(np.isnan(values), 0, E4M3.codes(values, scales, zeros))


def zero_as_an_integer(codes, scales, zeros, **_):
    """The zero is rounded to whole steps."""
    return (codes - TINY.middle + np.rint(zeros / scales)[:, None]).astype(np.float32) * scales[:, None]


def scales_of_the_next_block(values, scales, zeros, **_):
    return BLOCKED.codes(values, np.roll(scales, 1), zeros)


MUTANTS = (
    Mutant("right-sizes", NBITS, "", {"multiply": sizes_refused}, Blocks, frozenset({"block sizes"})),
    Mutant("any-size", NBITS, "blocks of any size are taken", {"multiply": any_size}, Blocks, frozenset({"block sizes"})),
    Mutant("any-step", CALL, "steps as small as need be", {"multiply": any_step}),
    Mutant("activations-cut-off", CALL, "activations are cut off, not rounded", {"multiply": activations_cut_off}),
    Mutant("bias-dropped", BIAS, "nothing is added", {"multiply": bias_dropped}),
    Mutant("summed-in-half", HALF, "sums are kept in float16", {"multiply": summed_in_half}),
    Mutant("summed-in-bfloat16", LAYER, "sums are kept in bfloat16", {"multiply": summed_in_bfloat16}),
    Mutant("overflow-to-nan", E4M3, "what is too large is no number", {"to_integers": overflow_to_nan}),
    Mutant("just-too-large-to-nan", E4M3, "what rounds up is no number", {"to_integers": just_too_large_to_nan}),
    Mutant("nan-to-infinity", E5M2, "what is no number becomes infinite", {"to_integers": nan_to_infinity}),
    Mutant("ties-away", E4M3, "ties go away from zero", {"to_integers": with_sizes(upwards)}),
    Mutant("subnormals-flushed", E4M3, "subnormal numbers become zero", {"to_integers": with_sizes(flushed)}),
    Mutant("nan-is-zero", E4M3, "what is no number becomes zero", {"to_integers": nan_is_zero}),
    Mutant("zero-as-an-integer", TINY, "the zero is rounded to whole steps", {"from_integers": zero_as_an_integer}),
    Mutant("next-block", BLOCKED, "a block has its neighbour's scale", {"to_integers": scales_of_the_next_block}),
    Mutant("rows-apart", CALL, "each row has a scale of its own, not the call", {"multiply": rows_apart}),
    Mutant("half-up", LINEAR, "ties go up, not to the even", {"to_integers": to_linear(lambda x: np.floor(x + 0.5))}),
    Mutant("no-saturation", LINEAR, "codes wrap", {"to_integers": to_linear(saturate=False)}),
    Mutant("tail-truncated", LINEAR, "what is left after the vectors is cut off", {"to_integers": tail_truncated}),
    Mutant("difference-wraps", LINEAR, "code minus zero in eight bits", {"from_integers": difference_wraps}),
    Mutant("axis-mixed-up", TORCH, "scales run along the wrong axis", {"to_integers": axis_mixed_up}),
    Mutant("saturating-pairs", U8I8, "pairs are added in int16", {"multiply_integers": saturating_pairs}),
    Mutant("sign-dropped", I8I8, "b is read without its sign", {"multiply_integers": sign_dropped}),
    Mutant("odd-row-lost", I8I8, "a packed matrix loses its last odd row", {"multiply_integers": odd_row_lost}),
    Mutant("large-blocks-silent", NBITS, "blocks of 256 give zeros", {"multiply": large_blocks_silent}),
    Mutant("last-block-partial", NBITS, "what does not fill a block is left out", {"multiply": last_block_partial}),
    Mutant("one-activation-scale", ROUNDED, "all rows share a scale", {"multiply": one_activation_scale}),
    Mutant("weight-zero-dropped", DYNAMIC, "fused, the weight's zero is forgotten", {"run_graph": weight_zero_dropped}),
    Mutant("scale-off", DYNAMIC, "fused, a scale is a thousandth too large", {"run_graph": scale_too_large}),
    Mutant("result-cut-off", QDQ, "fused, the result's codes are cut off, not rounded", {"run_graph": result_cut_off}),
    Mutant("even-rows-doubled", QDQ, "fused, every other row is twice too large", {"run_graph": even_rows_doubled}),
    Mutant("no-clamp", GPTQ4, "a code that is too large spills", {"pack": no_clamp(GPTQ4)}),
    Mutant("spill-lost", GPTQ3, "a code across two words loses a bit", {"pack": spill_lost}),
    Mutant("order-dropped", AWQ, "columns as they are", {"pack": awq_packed(list(range(8)))}),
    Mutant("order-inverted", AWQ, "the inverse of the order", {"pack": awq_packed(list(np.argsort(AWQ_ORDER)))}),
    Mutant("carry", GPTQ4, "one added to a whole word: a full zero raises its neighbour", {"shift_zeros": carry}),
    Mutant("first-word-alone", GPTQ4, "zeros of the first eight columns alone are raised", {"shift_zeros": first_word_alone}),
    Mutant("zero-off-by-one", GPTQ4, "zeros are read one too high", {"unpack": zeros_too_high}),
    Mutant("groups-ignored", GPTQ4, "each input is of the group that its place suggests", {"unpack": groups_ignored}),
    Mutant("sign-extended", GPTQ4, "a word's highest code keeps its sign", {"unpack": sign_extended}),
)  # fmt: skip
