"""Blocks that are wrong: bits in the wrong place, scales from the wrong values, rounding the other way, state, size."""

import numpy as np

from fixtures.format import half, half_bytes, largest_magnitude
from fixtures.formats import codebooks, gguf_simple, gguf_super, rows
from fixtures.formats.gguf_simple import BLOCKS
from fixtures.mutant import Mutant

SIMPLE, SUPER = gguf_simple.FORMATS, gguf_super.FORMATS
NF4, FP4, D8 = (codebooks.FORMATS[name] for name in ("nf4_b64", "fp4_b64", "dynamic8_b256"))
INT8, U8 = rows.LLM_INT8["int8_row"], rows.DYNAMIC_U8["dynamic_u8"]


def swapped(array):
    return array >> 4 | array << 4


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


def with_codes(codes_of):
    """NF4 with other codes."""

    def quantize(values):
        codes = codes_of(values).astype(np.uint8)
        return {"codes": codes[:, ::2] << 4 | codes[:, 1::2], "absmax": largest_magnitude(values)[:, 0]}

    return quantize


def with_absmax(absmax_of, form=NF4):
    """The right codes of values over another block maximum, which is what is stored."""

    def quantize(values):
        absmax = absmax_of(values).astype(np.float32)
        scaled = values * (np.float32(1) / np.maximum(absmax, np.float32(codebooks.LEAST)))
        order = np.argsort(codebooks.NF4)
        middles = (codebooks.NF4[:-1] + codebooks.NF4[1:]) / 2
        codes = order[np.searchsorted(middles, scaled.clip(-1, 1))].astype(np.uint8)
        return {"codes": codes[:, ::2] << 4 | codes[:, 1::2], "absmax": np.broadcast_to(absmax, (len(values), 1))[:, 0]}

    return quantize


def half_up(values):
    scaled = values * (np.float32(1) / np.maximum(largest_magnitude(values), np.float32(codebooks.LEAST)))
    return np.searchsorted((codebooks.NF4[:-1] + codebooks.NF4[1:]) / 2, scaled, side="right")


def no_zero_bin(values):
    # Sixteen even levels: none of them is zero.
    ratio = values / np.maximum(largest_magnitude(values), np.float32(codebooks.LEAST))
    return np.rint((ratio + 1) * 7.5)


def stale():
    """Answers by the shape and the first value alone, as a cache keyed by an address would."""
    seen = {}

    def quantize(values):
        return seen.setdefault((values.shape, float(values[0, 0])), NF4.encode(values))

    return quantize


def large_truncates(values):
    stored = dict(NF4.encode(values))
    if values.nbytes > 2**18:
        stored["codes"] = stored["codes"] & 0xFE
    return stored


def sign_lost_when_large(values):
    return FP4.encode(np.abs(values) if values.nbytes > 2**18 else values)


def unremapped(values):
    order = np.argsort(codebooks.FP4, kind="stable")
    codes = codebooks.nearest(values, codebooks.FP4[order]).astype(np.uint8)
    return {"codes": codes[:, ::2] << 4 | codes[:, 1::2], "absmax": largest_magnitude(values)[:, 0]}


def finite_only(values):
    return NF4.encode(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))


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


def q8_0(divisor=127, rounding=gguf_simple.half_away, scale=lambda d: d):
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


def int8_rows(absmax_of=largest_magnitude, steps=127):
    def quantize(values):
        absmax = np.broadcast_to(absmax_of(values), (len(values), 1)).astype(np.float32)
        inverse = np.divide(np.float32(1), absmax, out=np.zeros_like(absmax), where=absmax > 0)
        codes = np.rint(values * (inverse * np.float32(steps)))
        return {"codes": codes.astype(np.int64).astype(np.int8), "absmax": absmax[:, 0]}

    return quantize


def dynamic_u8(with_zero=True, rounding=np.rint):
    def quantize(values):
        low, high = values.min(axis=1), values.max(axis=1)
        if with_zero:
            low, high = low.clip(max=0), high.clip(min=0)
        scale = np.where(high > low, (high - low) / np.float32(255), np.float32(1)).astype(np.float32)
        zero = rounding(-low / scale).clip(0, 255)
        codes = (np.rint(values / scale[:, None]) + zero[:, None]).clip(0, 255)
        return {"codes": codes.astype(np.uint8), "scale": scale, "zero": zero.astype(np.uint8)}

    return quantize


def previous_row(values):
    return np.roll(largest_magnitude(values), 1, axis=0)


def whole_tensor(values):
    return np.abs(values).max()


def bf16_maximum(values):
    return (largest_magnitude(values).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def f16_maximum(values):
    with np.errstate(over="ignore"):
        return largest_magnitude(values).astype(np.float16).astype(np.float32)


def wrong(name, form, about, **replaced):
    return Mutant(name, form, about, replaced)


def of_decoder(name, form_name, about, edit):
    return wrong(name, SUPER[form_name], about, dequantize=read_edited(SUPER[form_name], edit))


def codes_swapped(stored):
    return {**stored, "codes": swapped(stored["codes"])}


def finest_decade_missing(values):
    stored = D8.encode(values)
    near_zero = np.abs(stored["codes"].astype(int) - 127) < 3
    return {**stored, "codes": np.where(near_zero, 127, stored["codes"]).astype(np.uint8)}


def one_code_higher(values):
    stored = D8.encode(values)
    return {**stored, "codes": np.minimum(stored["codes"].astype(int) + 1, 255).astype(np.uint8)}


def read_in_half(stored):
    return NF4.decode(stored).astype(np.float16).astype(np.float32)


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


Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 = (SIMPLE[name] for name in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0"))

MUTANTS = (
    wrong("nibbles-swapped", NF4, "the first of two codes in the low nibble",
          quantize=lambda values: codes_swapped(NF4.encode(values))),
    wrong("nibbles-swapped-twice", NF4, "written and read in the same wrong order",
          quantize=lambda values: codes_swapped(NF4.encode(values)),
          dequantize=lambda stored: NF4.decode(codes_swapped(stored))),
    wrong("half-up", NF4, "a tie goes to the upper level", quantize=with_codes(half_up)),
    wrong("no-zero-bin", NF4, "a table without a zero", quantize=with_codes(no_zero_bin)),
    wrong("previous-maximum", NF4, "the maximum of the row before", quantize=with_absmax(previous_row)),
    wrong("one-maximum", NF4, "one maximum for all blocks", quantize=with_absmax(whole_tensor)),
    wrong("bf16-maximum", NF4, "the maximum rounded to bfloat16 before it divides", quantize=with_absmax(bf16_maximum)),
    wrong("f16-maximum", NF4, "the maximum kept in float16", quantize=with_absmax(f16_maximum)),
    wrong("stale-cache", NF4, "an earlier answer for an array of the same shape and start", quantize=stale()),
    wrong("large-truncates", NF4, "another path above 256 KiB", quantize=large_truncates),
    wrong("not-finite-swallowed", NF4, "NaN and infinity become zero", quantize=finite_only),
    wrong("read-in-half", NF4, "dequantized in float16", dequantize=read_in_half),
    wrong("sign-lost-when-large", FP4, "signs are lost above 256 KiB", quantize=sign_lost_when_large),
    wrong("not-remapped", FP4, "the rank of a level in place of its bit pattern", quantize=unremapped),
    wrong("half-a-map", D8, "the finest decade is missing", quantize=finest_decade_missing),
    wrong("off-by-one", D8, "every code one too high", quantize=one_code_higher),
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
    wrong("128-steps", INT8, "the largest value is 128, which wraps", quantize=int8_rows(steps=128)),
    wrong("one-maximum", INT8, "one maximum for all rows", quantize=int8_rows(absmax_of=whole_tensor)),
    wrong("range-without-zero", U8, "the range need not hold zero", quantize=dynamic_u8(with_zero=False)),
    wrong("zero-cut-off", U8, "the zero is cut off, not rounded", quantize=dynamic_u8(rounding=np.floor)),
)  # fmt: skip
