"""Products that are wrong: of integers, and with quantized weights."""

import numpy as np

from fixtures.format import rounded
from fixtures.formats import products
from fixtures.kernel import Kernels
from fixtures.launcher import WorkerError
from fixtures.mutant import Mutant, in_one_range, multiply, right, rounded_weight

U8I8, I8I8 = products.INTEGER_PRODUCTS["u8xi8"], products.INTEGER_PRODUCTS["i8xi8"]
CALL = products.DYNAMIC_PRODUCTS["x86_dynamic_product"]
BIAS, HALF = products.NBITS_PRODUCTS["nbits4_product_bias"], products.NBITS_PRODUCTS["nbits4_product_half"]
LAYER = products.LAYERS["nf4_layer"]
ORDER, REFUSED = products.NBITS_PRODUCTS["nbits4_product_order"], products.NBITS_PRODUCTS["nbits8_product_order"]
POINTS = products.NBITS_PRODUCTS["nbits4_product_points"]
NBITS, ROUNDED = products.NBITS_PRODUCTS["nbits4_product"], products.NBITS_PRODUCTS["nbits4_product_int8"]


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


class Blocks(Kernels):
    """A library whose blocks have some sizes, and no others."""

    block_sizes = (16, 32, 64, 128, 256)


def sizes_refused(a, weight, block, zeros, **_):
    if block not in Blocks.block_sizes:
        raise WorkerError("numpy", "failed", f"no blocks of {block}")
    return multiply(NBITS, a, weight, block, zeros)


def any_size(a, weight, block, zeros, **_):
    return multiply(NBITS, a, weight, block, zeros)


def taken(a, weight, block, zeros, **_):
    return multiply(ORDER, a, weight, block, zeros)


def zeros_dropped(a, weight, block, zeros, **_):
    """Zeros are told, and read as the middle of the codes."""
    found = multiply(POINTS, a, weight, block, zeros)
    middle = multiply(POINTS, a, weight, block, zeros=False)
    return {**found, "product": middle["product"]}


def order_dropped(a, weight, block, zeros, **_):
    """Inputs are multiplied with the weights of their groups, one group after the other, though they lie scattered."""
    by_group = np.random.default_rng(0).permutation(len(weight))
    stored = rounded_weight(weight[by_group], 4, block, zeros)
    told = np.empty_like(stored)
    told[by_group] = stored
    return {"product": (a.astype(np.float64) @ stored).astype(np.float32), "weight": told}


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


def nan_cut_off(a, weight, block, zeros, **_):
    return multiply(ROUNDED, np.nan_to_num(a), weight, block, zeros)


def nan_everywhere(a, weight, block, zeros, **_):
    found = multiply(NBITS, a, weight, block, zeros)
    return {**found, "product": found["product"] + 0 * a.sum()}


def on_cores(form, method, share):
    """The product in as many parts as there are cores; `share(rows, cores)` are those that get done."""
    cores = [1]

    def set_threads(threads):
        cores[0] = threads or 1

    def call(a, *others, **more):
        found = right(form)[method](a, *others, **more)
        product = found["product"] if isinstance(found, dict) else found
        done = product * (np.arange(len(a)) < share(len(a), cores[0]))[:, None].astype(product.dtype)
        return {**found, "product": done} if isinstance(found, dict) else done

    return {method: call, "set_threads": set_threads}


def every_row(rows, cores):
    return rows


def whole_shares(rows, cores):
    return rows // cores * cores


MUTANTS = (
    Mutant("right-sizes", NBITS, "", {"multiply": sizes_refused}, Blocks, frozenset({"block sizes"})),
    Mutant("any-size", NBITS, "blocks of any size are taken", {"multiply": any_size}, Blocks, frozenset({"block sizes"})),
    Mutant("taken-silently", REFUSED, "what there is not is computed, anyhow", {"multiply": taken}),
    Mutant("zeros-dropped", POINTS, "zeros count nothing", {"multiply": zeros_dropped}),
    Mutant("order-dropped", ORDER, "groups out of order are read in order", {"multiply": order_dropped}),
    Mutant("any-step", CALL, "steps as small as need be", {"multiply": any_step}),
    Mutant("activations-cut-off", CALL, "activations are cut off, not rounded", {"multiply": activations_cut_off}),
    Mutant("bias-dropped", BIAS, "nothing is added", {"multiply": bias_dropped}),
    Mutant("summed-in-half", HALF, "sums are kept in float16", {"multiply": summed_in_half}),
    Mutant("summed-in-bfloat16", LAYER, "sums are kept in bfloat16", {"multiply": summed_in_bfloat16}),
    Mutant("rows-apart", CALL, "each row has a scale of its own, not the call", {"multiply": rows_apart}),
    Mutant("saturating-pairs", U8I8, "pairs are added in int16", {"multiply_integers": saturating_pairs}),
    Mutant("sign-dropped", I8I8, "b is read without its sign", {"multiply_integers": sign_dropped}),
    Mutant("odd-row-lost", I8I8, "a packed matrix loses its last odd row", {"multiply_integers": odd_row_lost}),
    Mutant("large-blocks-silent", NBITS, "blocks of 256 give zeros", {"multiply": large_blocks_silent}),
    Mutant("last-block-partial", NBITS, "what does not fill a block is left out", {"multiply": last_block_partial}),
    Mutant("one-activation-scale", ROUNDED, "all rows share a scale", {"multiply": one_activation_scale}),
    Mutant("nan-cut-off", ROUNDED, "activations that are no numbers count nothing", {"multiply": nan_cut_off}),
    Mutant("nan-everywhere", NBITS, "one that is no number spoils every row", {"multiply": nan_everywhere}),
    Mutant("right-on-cores", I8I8, "", on_cores(I8I8, "multiply_integers", every_row)),
    Mutant("right-on-cores", NBITS, "", on_cores(NBITS, "multiply", every_row)),
    Mutant("rest-of-cores", I8I8, "rows that cores do not share evenly are left out",
           on_cores(I8I8, "multiply_integers", whole_shares)),
    Mutant("rest-of-cores", NBITS, "rows that cores do not share evenly are left out",
           on_cores(NBITS, "multiply", whole_shares)),
)  # fmt: skip
