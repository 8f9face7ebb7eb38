"""GGUF's blocks that are wrong: written or read with a bit, a scale or a step amiss."""

import numpy as np

from fixtures.format import half, half_away, half_bytes, largest_magnitude
from fixtures.formats import gguf_simple, gguf_super
from fixtures.formats.gguf_simple import BLOCKS
from fixtures.mutant import Mutant, swapped, wrong

SIMPLE, SUPER = gguf_simple.FORMATS, gguf_super.FORMATS
Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 = (SIMPLE[name] for name in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0"))


def edited(form, edit):
    """The right bytes, with a copy of them edited."""

    def quantize(values):
        raw = form.encode(values)[BLOCKS].copy()
        edit(raw, values)
        return {BLOCKS: raw}

    return quantize


def read_edited(form, edit):
    """The right decoder of edited bytes."""

    def dequantize(stored):
        raw = stored[BLOCKS].copy()
        edit(raw)
        return form.decode({BLOCKS: raw})

    return dequantize


def q4_0_codes(values, rounding=0.5, highest=15, signed=True):
    """Q4_0 step by step, so that a step can be wrong; the scale and the codes [blocks, 32]."""
    peak = np.take_along_axis(values, np.abs(values).argmax(axis=1)[:, None], 1)
    d = (peak if signed else np.abs(peak)) / np.float32(-8)
    inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
    codes = (values * inverse + np.float32(8 + rounding)).astype(np.int64)
    return d, np.minimum(codes, highest).astype(np.uint8)


def q4_0(pack=None, **wrong):
    def quantize(values):
        d, codes = q4_0_codes(values, **wrong)
        packed = codes[:, :16] & 15 | codes[:, 16:] << 4 if pack is None else pack(codes)
        return {BLOCKS: np.concatenate([half_bytes(d), packed.astype(np.uint8)], axis=1)}

    return quantize


def q8_0(divisor=127, rounding=half_away, scale=lambda d: d):
    def quantize(values):
        d = largest_magnitude(values) / np.float32(divisor)
        used = scale(d)
        inverse = np.divide(np.float32(1), used, out=np.zeros_like(used), where=used != 0)
        codes = rounding(values * inverse).astype(np.int64).astype(np.int8)
        return {BLOCKS: np.concatenate([half_bytes(d), codes.view(np.uint8)], axis=1)}

    return quantize


def rounded_to_half(d):
    return half(half_bytes(d))


def no_minimum(raw, values):
    raw[:, 2:4] = 0


def sixteen_steps(values):
    low = values.min(axis=1, keepdims=True)
    d = (values.max(axis=1, keepdims=True) - low) / np.float32(16)
    codes = np.rint((values - low) / np.where(d == 0, 1, d)).clip(0, 15).astype(np.uint8)
    return {BLOCKS: np.concatenate([half_bytes(d), half_bytes(low), codes[:, :16] | codes[:, 16:] << 4], axis=1)}


def fifth_bits_backwards(raw, values):
    raw[:, 2:6] = np.packbits(np.unpackbits(raw[:, 2:6], axis=1), axis=1, bitorder="little")


def fifth_bits_dropped(raw, values):
    raw[:, 2:6] = 0


def small_scales_flushed(raw, values):
    raw[:, :2][np.abs(half(raw[:, :2]))[:, 0] < 2.0**-14] = 0


def q6_k_unsigned(stored):
    codes = gguf_super.steps("q6_k", stored[BLOCKS])[2]
    scales = stored[BLOCKS][:, 192:208].astype(np.float32)
    return np.repeat(half(stored[BLOCKS][:, 208:210]) * scales, 16, axis=1) * codes.astype(np.float32)


def q4_k_minima_added(stored):
    step, minimum, codes = gguf_super.steps("q4_k", stored[BLOCKS])
    return step * codes.astype(np.float32) + minimum


def high_scale_bits_dropped(raw):
    raw[:, 4:12] &= 63


def next_plane(raw):
    raw[:, 16:48] = raw[:, 16:48] << 1 | raw[:, 16:48] >> 7


def pairs_swapped(raw):
    raw[:, :16] = swapped(raw[:, :16])


def mask_inverted(raw):
    raw[:, :32] ^= 0xFF


def one_less(raw):
    raw[:, 4:8] -= 1


def mxfp4(exponent):
    def quantize(values):
        peak = largest_magnitude(values).astype(np.float64)
        raw = np.where(peak > 0, exponent(np.log2(np.where(peak > 0, peak, 1))) + 125, 0).astype(np.uint8)
        scale = np.ldexp(1.0, raw.astype(np.int32) - 128)[..., None]
        codes = np.abs(values[..., None] - scale * gguf_super.E2M1).argmin(axis=2).astype(np.uint8)
        return {BLOCKS: np.concatenate([raw, codes[:, :16] | codes[:, 16:] << 4], axis=1)}

    return quantize


def of_decoder(name, form_name, about, edit):
    return wrong(name, SUPER[form_name], about, dequantize=read_edited(SUPER[form_name], edit))


def middle_is_seven(stored):
    return SIMPLE["q4_0"].decode(stored) + half(stored[BLOCKS][:, :2])


def codes_unsigned(stored):
    return half(stored[BLOCKS][:, :2]) * stored[BLOCKS][:, 2:].astype(np.float32)


def planes_reversed(raw):
    raw[:, :64] = swapped((raw[:, :64] & 0x33) << 2 | (raw[:, :64] & 0xCC) >> 2)


def fraction_cut_off(raw, values):
    raw[:, :52] -= raw[:, :52] > 0


def halves_exchanged(raw):
    raw[:, 1:] = swapped(raw[:, 1:])


def wrong_level(stored):
    right, scale = SUPER["iq4_nl"].decode(stored), half(stored[BLOCKS][:, :2])
    return np.where(right == scale * 13, scale * 12, right)


def q6_k(rounding=np.rint, highest=31, times=1):
    """A plain quantizer: of the scales about that by which each sub-block's largest magnitude is the lowest code the best."""

    def quantize(values):
        parts = values.reshape(len(values), 16, 16).astype(np.float64)
        at = np.abs(parts).argmax(axis=2)[..., None]
        wanted = np.take_along_axis(parts, at, 2)[..., 0] / -32
        d = half(half_bytes((np.abs(wanted).max(axis=1, keepdims=True) / 128).astype(np.float32))).astype(np.float64)
        middle = np.rint(np.divide(wanted, d, out=np.zeros_like(wanted), where=d > 0))
        scales = (middle[..., None] + np.sign(middle)[..., None] * np.arange(-6, 7)).clip(-127, 127)
        step = (d[..., None] * scales)[..., None]
        wide = np.broadcast_to(parts[:, :, None], (*step.shape[:3], 16))
        tried = rounding(np.divide(wide, step, out=np.zeros_like(wide), where=step != 0)).clip(-32, highest)
        best = ((tried * step - wide) ** 2).sum(axis=3).argmin(axis=2)[..., None]
        scales = (times * np.take_along_axis(scales, best, 2)[..., 0]).clip(-128, 127)
        step = (d * scales)[..., None]
        codes = rounding(np.divide(parts, step, out=np.zeros_like(parts), where=step != 0)).clip(-32, highest) + 32
        codes = codes.astype(np.uint8).reshape(len(values), 2, 4, 32)
        low = (codes[:, :, :2] & 15) | (codes[:, :, 2:] & 15) << np.uint8(4)
        high = np.bitwise_or.reduce((codes >> 4) << np.array([0, 2, 4, 6], np.uint8)[:, None], axis=2)
        raw = [each.reshape(len(values), -1) for each in (low, high, scales.astype(np.int8).view(np.uint8))]
        return {BLOCKS: np.concatenate([*raw, half_bytes(d.astype(np.float32))], axis=1)}

    return quantize


def unsearched(values):
    """Q2_K: each sub-block's step and minimum from its ends alone."""
    parts = values.reshape(len(values), 16, 16).astype(np.float64)
    lows = -parts.min(axis=2).clip(max=0)
    steps = (parts.max(axis=2) + lows) / 3
    wholes = [half(half_bytes((each.max(axis=1, keepdims=True) / 15).astype(np.float32))) for each in (steps, lows)]
    codes = [
        np.rint(np.divide(e, w, out=np.zeros_like(e), where=w > 0)).clip(0, 15)
        for e, w in zip((steps, lows), wholes, strict=True)
    ]
    step, low = (code * whole for code, whole in zip(codes, wholes, strict=True))
    found = np.divide(parts + low[..., None], step[..., None], out=np.zeros_like(parts), where=step[..., None] > 0)
    planes = np.rint(found).clip(0, 3).astype(np.uint8).reshape(len(values), 2, 4, 32)
    packed = np.bitwise_or.reduce(planes << np.array([0, 2, 4, 6], np.uint8)[:, None], axis=2).reshape(len(values), 64)
    pairs = codes[0].astype(np.uint8) | codes[1].astype(np.uint8) << np.uint8(4)
    return {BLOCKS: np.concatenate([pairs, packed, *map(half_bytes, wholes)], axis=1)}


def nothing(name):
    """No scale, and so no value."""
    form = SUPER[name]
    size = round(form.block * form.bits_per_weight / 8)
    zeros = {"quantize": lambda values: {BLOCKS: np.zeros((len(values), size), np.uint8)}}
    return Mutant("nothing", form, "all values are zeros", zeros)


MUTANTS = (
    *map(nothing, ("q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs")),
    wrong("twice-the-scale", SUPER["q6_k"], "scales are twice those that fit", quantize=q6_k(times=2)),
    wrong("unsearched", SUPER["q2_k"], "scales are those of the ends, and not searched for", quantize=unsearched),
    Mutant("right-plain", SUPER["q6_k"], "", {"quantize": q6_k()}),
    wrong("cut-off", SUPER["q6_k"], "codes are cut off, not rounded", quantize=q6_k(np.trunc)),
    wrong("highest-lost", SUPER["q6_k"], "the highest code is never given", quantize=q6_k(highest=30)),
    wrong("no-clamp", Q4_0, "the highest code wraps to the lowest", quantize=q4_0(highest=255)),
    wrong("interleaved", Q4_0, "neighbours share a byte, not element j and j + 16",
          quantize=q4_0(pack=lambda codes: codes[:, ::2] & 15 | codes[:, 1::2] << 4)),
    wrong("unsigned-peak", Q4_0, "the scale has lost its sign", quantize=q4_0(signed=False)),
    wrong("truncated", Q4_0, "codes are cut off, not rounded", quantize=q4_0(rounding=0.0)),
    wrong("zero-off-by-one", Q4_0, "the middle is 7", dequantize=middle_is_seven),
    wrong("small-scales-flushed", Q4_0, "subnormal scales become zero", quantize=edited(Q4_0, small_scales_flushed)),
    wrong("fifth-bits-backwards", Q5_0, "the fifth bits in the other order", quantize=edited(Q5_0, fifth_bits_backwards)),
    wrong("fifth-bits-dropped", Q5_0, "the fifth bits are not stored", quantize=edited(Q5_0, fifth_bits_dropped)),
    wrong("no-minimum", Q5_1, "the minimum is not stored", quantize=edited(Q5_1, no_minimum)),
    wrong("no-minimum", Q4_1, "the minimum is not stored", quantize=edited(Q4_1, no_minimum)),
    wrong("sixteen-steps", Q4_1, "sixteen steps lead to the greatest value, which has no code", quantize=sixteen_steps),
    wrong("half-to-even", Q8_0, "ties go to the even code", quantize=q8_0(rounding=np.rint)),
    wrong("too-few-steps", Q8_0, "half a step too many for the largest, which wraps", quantize=q8_0(divisor=127.5)),
    wrong("double-rounded-scale", Q8_0, "the rounded scale divides", quantize=q8_0(scale=rounded_to_half)),
    wrong("codes-unsigned", Q8_0, "codes are read without their sign", dequantize=codes_unsigned),
    wrong("planes-reversed", SIMPLE["tq2_0"], "the four planes of a byte in the other order",
          dequantize=read_edited(SIMPLE["tq2_0"], planes_reversed)),
    wrong("fraction-cut-off", SIMPLE["tq1_0"], "the fixed-point fraction is cut off",
          quantize=edited(SIMPLE["tq1_0"], fraction_cut_off)),
    wrong("exponent-rounded", SUPER["mxfp4"], "the exponent is rounded, not floored", quantize=mxfp4(np.rint)),
    wrong("exponent-too-high", SUPER["mxfp4"], "the exponent is one too high", quantize=mxfp4(lambda e: np.floor(e) + 1)),
    of_decoder("halves-exchanged", "mxfp4", "the halves of a block exchanged", halves_exchanged),
    of_decoder("high-scale-bits-dropped", "q4_k", "the last four scales without their high bits", high_scale_bits_dropped),
    wrong("minima-added", SUPER["q4_k"], "minima are added", dequantize=q4_k_minima_added),
    of_decoder("next-plane", "q5_k", "the fifth bit of the sub-block before", next_plane),
    wrong("scales-unsigned", SUPER["q6_k"], "scales are read without their sign", dequantize=q6_k_unsigned),
    of_decoder("mask-inverted", "q3_k", "the high bit means its opposite", mask_inverted),
    of_decoder("pairs-swapped", "q2_k", "scale and minimum exchanged", pairs_swapped),
    of_decoder("scale-off-by-one", "iq4_xs", "the scales' low bits one too low", one_less),
    wrong("wrong-level", SUPER["iq4_nl"], "one level of the table is wrong", dequantize=wrong_level),
)  # fmt: skip
