"""Grids and packings that are wrong, and graphs that were rewritten wrongly."""

import numpy as np

from fixtures.formats import affine, float8, graphs, packed_words
from fixtures.mutant import Mutant, codes_of, shift_zeros, unpack
from fixtures.packed import AWQ_ORDER, pack

LINEAR, TORCH = affine.ONNX["linear_u8"], affine.TORCH["per_channel_i8"]
DYNAMIC, QDQ = graphs.GRAPHS["dynamic_layer"], graphs.GRAPHS["qdq_layer"]
E4M3, E5M2 = float8.ONNX["linear_e4m3fn"], float8.ONNX["linear_e5m2"]
TINY, BLOCKED = affine.TORCHAO["tinygemm_u4"], affine.ONNX["blocks_u8"]
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


def long_rows_cut_off(values, scales, zeros, **_):
    rounding = np.floor if values.shape[1] > 2**12 else np.rint
    return (rounding(values / scales[:, None]) + zeros[:, None]).clip(0, 255).astype(np.int64)


def nan_is_spread(values, scales, zeros, **_):
    """What is no number and what comes after it become the lowest code."""
    lost = np.isnan(values)
    return np.where(lost | np.roll(lost, 1, axis=1), 0, LINEAR.codes(values, scales, zeros))


def axis_mixed_up(values, scales, zeros, **_):
    along = np.resize(scales, values.shape[1]), np.resize(zeros, values.shape[1])
    return np.rint(values / along[0] + along[1]).clip(-128, 127).astype(np.int64)


def difference_wraps(codes, scales, zeros, **_):
    difference = (codes.astype(np.uint8) - zeros[:, None].astype(np.uint8)).astype(np.int8)
    return difference.astype(np.float32) * scales[:, None]


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
    Mutant("overflow-to-nan", E4M3, "what is too large is no number", {"to_integers": overflow_to_nan}),
    Mutant("just-too-large-to-nan", E4M3, "what rounds up is no number", {"to_integers": just_too_large_to_nan}),
    Mutant("nan-to-infinity", E5M2, "what is no number becomes infinite", {"to_integers": nan_to_infinity}),
    Mutant("ties-away", E4M3, "ties go away from zero", {"to_integers": with_sizes(upwards)}),
    Mutant("subnormals-flushed", E4M3, "subnormal numbers become zero", {"to_integers": with_sizes(flushed)}),
    Mutant("nan-is-zero", E4M3, "what is no number becomes zero", {"to_integers": nan_is_zero}),
    Mutant("zero-as-an-integer", TINY, "the zero is rounded to whole steps", {"from_integers": zero_as_an_integer}),
    Mutant("next-block", BLOCKED, "a block has its neighbour's scale", {"to_integers": scales_of_the_next_block}),
    Mutant("half-up", LINEAR, "ties go up, not to the even", {"to_integers": to_linear(lambda x: np.floor(x + 0.5))}),
    Mutant("no-saturation", LINEAR, "codes wrap", {"to_integers": to_linear(saturate=False)}),
    Mutant("tail-truncated", LINEAR, "what is left after the vectors is cut off", {"to_integers": tail_truncated}),
    Mutant("long-rows-cut-off", LINEAR, "in long rows codes are cut off", {"to_integers": long_rows_cut_off}),
    Mutant("nan-is-spread", LINEAR, "what is no number spoils what is next to it", {"to_integers": nan_is_spread}),
    Mutant("difference-wraps", LINEAR, "code minus zero in eight bits", {"from_integers": difference_wraps}),
    Mutant("axis-mixed-up", TORCH, "scales run along the wrong axis", {"to_integers": axis_mixed_up}),
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
