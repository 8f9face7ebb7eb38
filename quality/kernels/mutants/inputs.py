"""Kernels that are wrong about what they are given: its layout in memory, its type, its outliers; and ways that disagree."""

import numpy as np

from fixtures.format import half_away, largest_magnitude, rounded
from fixtures.formats import codebooks, gguf_simple, packed_words, rows
from fixtures.formats.gguf_simple import BLOCKS
from fixtures.kernel import Kernels, arranged
from fixtures.launcher import WorkerError
from fixtures.mutant import Mutant, codes_in, right, wrong

Q8_0, NF4, APART = gguf_simple.FORMATS["q8_0"], codebooks.FORMATS["nf4_b64"], rows.OUTLIERS["int8_row_outliers"]
DYNAMIC8 = codebooks.FORMATS["dynamic8_b256"]
GPTQ4, VERSION_1 = packed_words.GPTQ["gptq4"], packed_words.GPTQ_V1["gptq4_v1"]


class Several(Kernels):
    """A library that takes more than one type, and has more than one way to pack and to read."""

    dtypes = ("float16",)
    packers, readers = ("pack", "pack_again"), ("eager", "compiled")


def as_given(values, layout, dtype):
    return Q8_0.encode(arranged(values, layout).astype(dtype).astype(np.float32))


def as_in_memory(values, layout, dtype):
    given = arranged(values, layout)
    whole = given if given.base is None else given.base
    return Q8_0.encode(whole.ravel(order="K")[: values.size].reshape(values.shape).astype(np.float32))


def scaled_in_its_own_type(values, layout, dtype):
    given = arranged(values, layout).astype(dtype)
    d = np.abs(given).max(axis=1, keepdims=True) / given.dtype.type(127)
    inverse = np.divide(given.dtype.type(1), d, out=np.zeros_like(d), where=d != 0)
    codes = half_away((given * inverse).astype(np.float32)).clip(-127, 127).astype(np.int8)
    return {BLOCKS: np.concatenate([Q8_0.encode(values)[BLOCKS][:, :2], codes.view(np.uint8)], axis=1)}


def laid(name, about, quantize):
    return Mutant(name, Q8_0, about, {"quantize": quantize}, Several, frozenset({"layouts", "dtypes"}))


def another_way(weight, scales, zeros, groups, way="pack"):
    stored = zeros if way == "pack" else zeros - 1
    codes = np.zeros(weight.T.shape, np.int64)
    return right(GPTQ4)["pack"](weight, scales, zeros, groups) | {"qzeros": GPTQ4.words(codes, stored)["qzeros"]}


def another_reading(qweight, qzeros, scales, groups, way="eager"):
    if way == "eager":
        return right(GPTQ4)["unpack"](qweight, qzeros, scales, groups)
    codes, zeros = codes_in(GPTQ4, qweight, qzeros)
    codes_apart, zeros_apart = (codes * scales[groups]).astype(np.float16), (zeros * scales).astype(np.float16)[groups]
    return (codes_apart - zeros_apart).astype(np.float32)


def none_fills_its_word(weight, scales, zeros, groups):
    """Less one in 32 bits, all of which are then ORed into the word."""
    found = right(VERSION_1)["pack"](weight, scales, zeros, groups)
    words = found["qzeros"].copy()
    for group, column in zip(*np.nonzero(zeros == 0), strict=True):
        words[group, column // 8] |= np.int32(-1) << np.int32(column % 8 * 4)
    return found | {"qzeros": words}


def none_is_the_largest(qweight, qzeros, scales, groups):
    codes, zeros = codes_in(VERSION_1, qweight, qzeros)
    return ((codes - np.minimum(zeros, 15)[groups]) * scales[groups]).astype(np.float16).astype(np.float32)


def narrowly(values, dtype):
    cut = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    return rounded(values, "float16") if dtype == "float16" else cut


def apart(**changes):
    """The right answer with some parts made otherwise: part -> (values, threshold, the right answer) -> array."""

    def quantize_apart(values, threshold):
        answer = right(APART)["quantize_apart"](values, threshold)
        return answer | {part: change(values, threshold, answer) for part, change in changes.items()}

    return quantize_apart


class AnyLength(Kernels):
    """A library whose tensors have any shape."""

    any_length = True


def shaped(absmax=lambda found, values: found, rest=lambda flat, block: flat, shape=lambda values: values.shape):
    """A tensor's blocks run through it as it lies in memory, and the last one may be a part of one."""

    def call(values, storage):
        flat = values.ravel()
        if not flat.size:
            return values.reshape(shape(values))
        padded = np.pad(flat, (0, -flat.size % NF4.block)).reshape(-1, NF4.block)
        stored = NF4.encode(padded)
        stored = {**stored, "absmax": absmax(stored["absmax"], values)}
        found = rest(NF4.decode(stored).ravel()[: flat.size], NF4.block)
        return found.reshape(shape(values))

    return call


def by_rows(found, values):
    """Each row counted as whole blocks, as a kernel that walks row by row has it."""
    if values.ndim < 2 or values.shape[-1] % NF4.block == 0:
        return found
    row = np.arange(len(found)) * NF4.block // values.shape[-1]
    return found[np.minimum(row * (values.shape[-1] // NF4.block), len(found) - 1)]


def rest_zeroed(flat, block):
    whole = len(flat) // block * block
    return np.concatenate([flat[:whole], 0 * flat[whole:]])


def previous_when_large(found, values):
    return found if values.nbytes <= 2**18 else np.roll(found, 1)


def of_shape(name, about, **parts):
    return Mutant(name, NF4, about, {"shaped": shaped(**parts)}, AnyLength, frozenset({"any length"}))


def whole_blocks(values, storage):
    if values.shape[-1] % Q8_0.block:
        raise WorkerError("numpy", "failed", "a row is no whole number of blocks")
    return padded_blocks(values, storage)


def padded_blocks(values, storage):
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % Q8_0.block)])
    found = Q8_0.decode(Q8_0.encode(padded.reshape(-1, Q8_0.block))).reshape(padded.shape)
    return found[..., : values.shape[-1]]


def of_whole_blocks(name, about, shaped):
    return Mutant(name, Q8_0, about, {"shaped": shaped}, Kernels, frozenset({"whole blocks"}))


class Sizes(Kernels):
    """A library whose format is the same in blocks of some sizes."""

    sizes = (32, 64, 128)


def in_blocks(block):
    """Blocks of the size that `block` makes of the one asked for."""

    def sized(values):
        one = codebooks.resized(NF4, block(values.shape[1]))
        found = one.encode(values.reshape(-1, one.block))
        codes = found["codes"].reshape(len(values), -1)
        return {"codes": codes, "absmax": found["absmax"][: len(values)]}

    return {"sized": sized}


def by_map(used):
    """Values by maps of eight bits, of which `used(maps)` are those that count."""

    def mapped(values, maps):
        peak = largest_magnitude(values)
        scaled = np.divide(values, peak, out=np.zeros_like(values), where=peak > 0)
        return [each[np.abs(scaled[..., None] - each).argmin(axis=2)] * peak for each in used(maps)]

    return {"mapped": mapped}


def first_map_kept(maps):
    return [maps[0]] * len(maps)


def spread(values):
    """A block that is not finite spoils all."""
    lost = not np.isfinite(values).all()
    return Q8_0.encode(np.full_like(values, np.nan) if lost else values)


MUTANTS = (
    wrong("spread", Q8_0, "what is not finite spoils all blocks", quantize=spread),
    Mutant("right-sized", NF4, "", in_blocks(lambda block: block), Sizes),
    Mutant("smallest-blocks", NF4, "blocks are of the smallest size, whatever is asked for",
           in_blocks(lambda block: min(block, 32)), Sizes),
    Mutant("right-mapped", DYNAMIC8, "", by_map(list)),
    Mutant("first-map-kept", DYNAMIC8, "a map that was changed is not looked at again", by_map(first_map_kept)),
    of_whole_blocks("right-whole", "", whole_blocks),
    of_whole_blocks("padded", "a row of a part of a block is padded, not refused", padded_blocks),
    of_shape("right-shaped", ""),
    of_shape("wrong-row", "a row is read with another row's scale", absmax=by_rows),
    of_shape("rest-zeroed", "what does not fill a block is left out", rest=rest_zeroed),
    of_shape("previous-when-large", "above 256 KiB a block is read with the maximum before it", absmax=previous_when_large),
    of_shape("one-row", "what has one dimension comes back with two",
             shape=lambda values: values.shape if values.ndim > 1 else (1, values.size)),
    laid("right-laid", "", as_given),
    laid("as-in-memory", "a view is read as it lies in memory, not by its strides", as_in_memory),
    laid("scaled-in-half", "float16 values are scaled in float16", scaled_in_its_own_type),
    Mutant("another-way", GPTQ4, "the second way to pack takes one off the zeros", {"pack": another_way}, Several,
           frozenset({"ways to pack"})),
    Mutant("another-reading", GPTQ4, "compiled, it multiplies codes and zeros by the scale before it takes one from the other",
           {"unpack": another_reading}, Several, frozenset({"ways to read"})),
    wrong("none-fills-its-word", VERSION_1, "a zero of none, less one, sets the bits of its neighbours",
          pack=none_fills_its_word),
    wrong("none-is-the-largest", VERSION_1, "a zero that is one beyond the largest code is read as that",
          unpack=none_is_the_largest),
    wrong("narrow-cut-off", NF4, "bfloat16 by cutting bits off",
          narrow=lambda stored, dtype: {"values": narrowly(NF4.decode(stored), dtype), "dtype": dtype}),
    wrong("outliers-in-maximum", APART, "a row's maximum is that of all its values",
          quantize_apart=apart(absmax=lambda values, threshold, answer: largest_magnitude(values)[:, 0])),
    wrong("threshold-exceeded", APART, "a magnitude of exactly the threshold is no outlier",
          quantize_apart=lambda values, threshold: right(APART)["quantize_apart"](values, np.nextafter(threshold, 7))),
    wrong("columns-kept", APART, "outliers alone become zeros, not their columns",
          quantize_apart=apart(codes=lambda values, threshold, answer: rows.LLM_INT8["int8_row"].encode(
              np.where(np.abs(values) >= threshold, np.float32(0), values))["codes"])),
    wrong("input-altered", APART, "outliers are missing from the input afterwards",
          quantize_apart=apart(input=lambda values, threshold, answer: np.where(np.abs(values) >= threshold, 0, values))),
)  # fmt: skip
