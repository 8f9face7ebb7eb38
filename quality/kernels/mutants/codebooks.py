"""Codebooks and rows that are wrong: bits misplaced, maxima of other values, rounding the other way, state, size."""

import numpy as np

from fixtures.format import largest_magnitude
from fixtures.formats import codebooks, rows
from fixtures.mutant import swapped, wrong

NF4, FP4, D8 = (codebooks.FORMATS[name] for name in ("nf4_b64", "fp4_b64", "dynamic8_b256"))
BITS = rows.NBITS["nbits4_sym_b32"]
INT8, U8 = rows.LLM_INT8["int8_row"], rows.DYNAMIC_U8["dynamic_u8"]


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
        return {"codes": codes[:, ::2] << 4 | codes[:, 1::2], "absmax": np.full((len(values), 1), absmax)[:, 0]}

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


def every_fifth():
    """Each fifth call is another one."""
    calls = []

    def quantize(values):
        calls.append(len(values))
        stored = NF4.encode(values)
        return {**stored, "absmax": stored["absmax"] * np.float32(1 if len(calls) % 5 else 1 + 2.0**-20)}

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


def saved_in_half(values):
    stored = NF4.encode(values)
    return {"before": stored, "after": {**stored, "absmax": stored["absmax"].astype(np.float16).astype(np.float32)}}


def mean_not_added(values):
    absmax = largest_magnitude(values)[:, 0]
    return {"block": 256, "exact": absmax, "nested": absmax - absmax.mean()}


def large_misread(stored):
    values = NF4.decode(stored)
    return np.roll(values, 1, axis=0) if values.nbytes > 2**18 else values


def nbits_cut_off(values):
    """Codes are cut off where they should be rounded."""
    stored = BITS.encode(values)
    inverse = np.divide(1, stored["scale"], out=np.zeros_like(stored["scale"]), where=stored["scale"] != 0)
    codes = np.floor(values * inverse[:, None] + 8).clip(0, 15).astype(np.uint8)
    return {**stored, "packed": codes[:, ::2] | codes[:, 1::2] << np.uint8(4)}


def nbits_high_first(stored):
    return BITS.decode({**stored, "packed": swapped(stored["packed"])})


MUTANTS = (
    wrong("cut-off", BITS, "codes are cut off, not rounded", quantize=nbits_cut_off),
    wrong("high-nibble-first", BITS, "the first of two codes is read from the high nibble", dequantize=nbits_high_first),
    wrong("saved-in-half", NF4, "maxima lose bits when they are saved", saved=saved_in_half),
    wrong("mean-not-added", NF4, "nested maxima are read without their mean", nested=mean_not_added),
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
    wrong("every-fifth", NF4, "each fifth call's maxima are a millionth too large", quantize=every_fifth()),
    wrong("large-truncates", NF4, "another path above 256 KiB", quantize=large_truncates),
    wrong("large-misread", NF4, "above 256 KiB each block is read as the one before", dequantize=large_misread),
    wrong("not-finite-swallowed", NF4, "NaN and infinity become zero", quantize=finite_only),
    wrong("read-in-half", NF4, "dequantized in float16", dequantize=read_in_half),
    wrong("sign-lost-when-large", FP4, "signs are lost above 256 KiB", quantize=sign_lost_when_large),
    wrong("not-remapped", FP4, "the rank of a level in place of its bit pattern", quantize=unremapped),
    wrong("half-a-map", D8, "the finest decade is missing", quantize=finest_decade_missing),
    wrong("off-by-one", D8, "every code one too high", quantize=one_code_higher),
    wrong("128-steps", INT8, "the largest value is 128, which wraps", quantize=int8_rows(steps=128)),
    wrong("one-maximum", INT8, "one maximum for all rows", quantize=int8_rows(absmax_of=whole_tensor)),
    wrong("range-without-zero", U8, "the range need not hold zero", quantize=dynamic_u8(with_zero=False)),
    wrong("zero-cut-off", U8, "the zero is cut off, not rounded", quantize=dynamic_u8(rounding=np.floor)),
)  # fmt: skip
