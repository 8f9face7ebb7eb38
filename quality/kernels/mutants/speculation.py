"""Speculative sampling that is wrong: what is said no longer has the target's distribution, or too little is kept."""

import numpy as np

from fixtures.formats.speculation import VERIFICATION
from fixtures.launcher import WorkerError
from fixtures.mutant import right, wrong
from fixtures.speculation import pick, residual

STEP = VERIFICATION["verification"]


def one_by_one(step):
    """verify(...) of a step of one run: (p, q, tokens, uniforms) -> kept, next."""

    def verify(p, q, tokens, seed, uniform=None):
        uniforms = np.random.default_rng(seed).random((len(tokens), tokens.shape[1] + 1))
        if uniform is not None:
            uniforms[:, :-1] = uniform
        kept, after = zip(*(step(p, q, *each) for each in zip(tokens, uniforms, strict=True)), strict=True)
        return {"kept": np.array(kept), "next": np.array(after)}

    return verify


def loop(keep=lambda p, q, u: u * q < p, after=lambda p, q: residual(p, q), row=lambda at: at, bonus=-1):
    """Algorithm 1 with parts to be replaced: what is kept, what is drawn in place of what is not, and from which rows."""

    def step(p, q, tokens, uniforms):
        for at, token in enumerate(tokens):
            if not keep(p[at, token], q[at, token], uniforms[at]):
                return at, pick(after(p[row(at)], q[at]), uniforms[-1])
        return len(tokens), pick(p[bonus], uniforms[-1])

    return step


def tempered(q):
    warm = q ** (1 / 0.7)
    return warm / warm.sum(axis=1, keepdims=True)


def at_another_temperature(p, q, tokens, seed, uniform=None):
    """Drafts are taken for drawn at temperature 0.7, and were at 1."""
    return right(STEP)["verify"](p, tempered(q), tokens, seed, uniform)


def unguarded(p, q):
    more = np.maximum(p - q, 0)
    if more.sum() == 0:
        raise WorkerError("numpy", "failed", "verify: RuntimeError: probabilities that are no numbers")
    return residual(p, q)


def unnormalized(p, q, tokens, uniforms):
    """What is left of the target's probabilities is drawn from as if it came to one."""
    kept, after = loop()(p, q, tokens, uniforms)
    if kept == len(tokens):
        return kept, after
    left = np.maximum(p[kept] - q[kept], 0).cumsum()
    return kept, min(int(np.searchsorted(left, uniforms[-1], side="right")), len(left) - 1)


def stopped_short(p, q, tokens, uniforms):
    kept, after = loop()(p, q, tokens, uniforms)
    return (kept, after) if kept < len(tokens) else (kept - 1, int(tokens[-1]))


def tempered_by(change):
    """temper(...) with other temperatures."""

    def temper(p, drafted, temperatures):
        return STEP.tempered(p, drafted, change(temperatures))

    return temper


STEPS = (
    ("all-kept", "drafts are kept without a check", loop(keep=lambda p, q, u: True)),
    ("none-kept", "no draft is ever kept", loop(keep=lambda p, q, u: False, after=lambda p, q: p)),
    ("likeliest-kept", "kept where the target has more than the draft, and nowhere else", loop(keep=lambda p, q, u: p >= q)),
    ("ratio-inverted", "the ratio is q to p", loop(keep=lambda p, q, u: u * p < q)),
    ("zero-kept", "a uniform of zero keeps what the target never says", loop(keep=lambda p, q, u: u * q <= p)),
    ("no-residual", "what is not kept is drawn anew from the target", loop(after=lambda p, q: p)),
    ("residual-inverted", "what the draft has more than the target", loop(after=lambda p, q: residual(q, p))),
    ("residual-unclipped", "differences below zero count by their size", loop(after=lambda p, q: np.abs(p - q) + 1e-12)),
    ("residual-unguarded", "where nothing is left to be drawn from, it divides by zero", loop(after=unguarded)),
    ("residual-unnormalized", "what is left is drawn from as if it came to one", unnormalized),
    ("next-row", "what is not kept is drawn from the row after", loop(row=lambda at: at + 1)),
    ("first-row", "what is not kept is drawn from the first row", loop(row=lambda at: 0)),
    ("bonus-row", "the token after a whole draft is drawn from the last draft's row", loop(bonus=-2)),
    ("stopped-short", "the last of a whole draft is the target's own token", stopped_short),
)  # fmt: skip
TEMPERS = (
    ("temperature-multiplied", "logits are multiplied by the temperature", lambda kinds: 1 / kinds),
    ("first-temperature", "all requests have the first one's", lambda kinds: kinds[:1].repeat(len(kinds))),
    ("temperatures-sorted", "requests are sorted by their temperatures, and these are not", lambda kinds: kinds[::-1]),
)
MUTANTS = (
    *(wrong(name, STEP, about, verify=one_by_one(step)) for name, about, step in STEPS),
    wrong("temperature", STEP, "the draft's temperature is not the one that it drew by", verify=at_another_temperature),
    *(wrong(name, STEP, about, temper=tempered_by(change)) for name, about, change in TEMPERS),
)
