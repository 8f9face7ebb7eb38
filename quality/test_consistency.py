"""Consistency: what must hold of one variant with itself, whatever its quality."""

import math
import re

import numpy as np
import pytest

from fixtures.launcher import WorkerError
from fixtures.metrics import log_softmax
from fixtures.ties import flips

WINDOW, SPLIT = 48, 40
SHORT = 12
# The likeliest token alone: as good as greedy.
LIKELIEST = {"temperature": 1.0, "top_k": 1, "top_p": 1.0, "repetition_penalty": 1.0}
EQUAL, UNEQUAL = (24, 24, 24, 24), (5, 40, 17, 24)


def root_mean_square(differences):
    return float(np.sqrt(np.mean(np.square(differences))))


def rows_of(text, lengths):
    """Different pieces of the text."""
    return [text.ids[50 * place : 50 * place + length] for place, length in enumerate(lengths)]


def generate(variant, batch, n, **more):
    return variant.call("generate", batch=batch, n=n, **more)["tokens"]


def unexplained(variant, batch, alone, together):
    """Where a row says other tokens beside others than `alone`, and it was no near tie by the engine's own noise.

    Who tells no log-probabilities leaves that open, which is neither a pass nor a failure.
    """
    offers = variant.variant.offers

    def logprobs(context, others):
        """Of the token after `context`: by one pass; beside the others; token by token, where the engine can."""
        found = [variant.call("window_logits", windows=[context])[0][-1]]
        found.append(variant.call("window_logits", windows=[context, *others])[0][-1])
        if "stepwise" in offers:
            found.append(variant.call("next_logits", ids=context, fresh=True))
        return log_softmax(np.stack(found))

    def flips_of(row, said):
        others = [*batch[:row], *batch[row + 1 :]]

        def go_on(done):
            return generate(variant, [[*batch[row], *alone[row][:done]], *others], len(alone[row]) - done)[0]

        def weigh(at, chosen):
            if "logits" not in offers:
                return math.nan, 0.0
            ways = logprobs([*batch[row], *alone[row][:at]], others)
            return float(ways[0, alone[row][at]] - ways[0, chosen]), float(np.ptp(ways, axis=0).max())

        return flips(row, alone[row], said, go_on, weigh)

    found = [flip for row, said in enumerate(together) for flip in flips_of(row, said)]
    if untold := sum(math.isnan(flip.margin) for flip in found):
        pytest.skip(f"{untold} tokens differ beside other rows; no log-probabilities tell a near tie from a fault")
    return [flip for flip in found if not flip.explained]


@pytest.fixture(scope="session")
def n(variant):
    """New tokens a row."""
    return 6 if variant.variant.slow("decode") else 12


@pytest.fixture(scope="session")
def alone(variant, text, n):
    """What each row says alone, by its place and length."""
    rows = {
        (place, length): row
        for lengths in (EQUAL, UNEQUAL)
        for place, (length, row) in enumerate(zip(lengths, rows_of(text, lengths), strict=True))
    }
    return {key: generate(variant, [row], n)[0] for key, row in rows.items()}


@pytest.mark.needs("logits", "stepwise")
@pytest.mark.consistency("cache")
def test_prefill_and_decode_equal_one_pass(variant, text):
    nll = variant.call("incremental", ids=text.ids[:WINDOW], split=SPLIT)
    assert root_mean_square(nll["cached"] - nll["whole"]) <= variant.variant.scheme.noise_nats


@pytest.mark.needs("logits", "blocks")
@pytest.mark.consistency("cache")
def test_what_is_taken_back_leaves_no_trace(variant, text):
    ids, wrong = text.ids[:WINDOW], text.ids[WINDOW : WINDOW + 5]
    whole = log_softmax(variant.call("window_logits", windows=[ids])[0])

    variant.call("block_logits", ids=ids[:SPLIT], keep=0, last=1)
    variant.call("block_logits", ids=wrong, keep=SPLIT, last=5)
    blocks = log_softmax(variant.call("block_logits", ids=ids[SPLIT:], keep=SPLIT, last=WINDOW - SPLIT))

    at, targets = np.arange(WINDOW - SPLIT - 1), ids[SPLIT + 1 :]
    differences = blocks[:-1][at, targets] - whole[SPLIT:-1][at, targets]
    assert root_mean_square(differences) <= variant.variant.scheme.noise_nats


@pytest.mark.needs("logits", "batch")
@pytest.mark.consistency("batch")
def test_batch_rows_are_independent(variant, text):
    windows = [text.ids[start : start + length] for start, length in ((0, 48), (100, 40), (200, 32))]
    nll = variant.call("batched", windows=windows)
    assert root_mean_square(nll["together"] - nll["alone"]) <= variant.variant.scheme.noise_nats


@pytest.mark.needs("logits", "batch")
@pytest.mark.consistency("repeat")
def test_same_input_twice_gives_the_same_output(variant, text):
    windows = [text.ids[300:340]]
    nll = variant.call("batched", windows=windows)
    np.testing.assert_array_equal(nll["again"], nll["alone"])


@pytest.mark.needs("generate")
@pytest.mark.consistency("greedy")
def test_greedy_text_is_the_same_again(variant, text, alone, n):
    assert generate(variant, rows_of(text, EQUAL)[:1], n) == [alone[0, EQUAL[0]]]


@pytest.mark.needs("generate", "batch")
@pytest.mark.consistency("rows")
@pytest.mark.parametrize(
    "lengths", [EQUAL[:2], EQUAL, UNEQUAL[:2], UNEQUAL], ids=["two", "four", "two-unequal", "four-unequal"]
)
def test_rows_say_what_each_says_alone(variant, text, alone, n, lengths):
    batch = rows_of(text, lengths)
    expected = [alone[key] for key in enumerate(lengths)]
    assert unexplained(variant, batch, expected, generate(variant, batch, n)) == []


@pytest.mark.needs("generate", "stop")
@pytest.mark.consistency("stop")
def test_a_row_ends_after_a_stop_token(variant, text, alone, n):
    expected = alone[0, EQUAL[0]]
    end = expected.index(expected[n // 2])
    assert generate(variant, rows_of(text, EQUAL)[:1], n, stop=[expected[end]]) == [expected[: end + 1]]


@pytest.mark.needs("generate", "stop", "batch")
@pytest.mark.consistency("stop")
def test_a_row_ends_by_itself_and_the_others_go_on(variant, text, n):
    batch = rows_of(text, UNEQUAL)
    together = generate(variant, batch, n)
    stop = [together[0][n // 2]]
    ended = generate(variant, batch, n, stop=stop)
    assert len(ended[0]) < n
    for row in ended:
        assert len(row) == n or row[-1] in stop
        assert set(row[:-1]).isdisjoint(stop)


@pytest.mark.needs("generate")
@pytest.mark.consistency("end-of-sequence")
def test_the_end_of_sequence_is_a_token_like_any_other(variant, text, model_run, alone, n):
    ends = model_run.checkpoint.ends
    # Every other token is the end: a language model repeats what it has seen.
    ending = [token for pair in zip(text.ids[:8] * 2, ends[:1] * 16, strict=False) for token in pair][:-1]
    said = [generate(variant, [ending or text.ids[:1]], n)[0], *alone.values()]
    assert {len(row) for row in said} == {n}
    if not any(set(row[:-1]) & set(ends) for row in said):
        pytest.skip("the model did not say its end-of-sequence token, so none was ignored")


@pytest.mark.needs("generate")
@pytest.mark.consistency("limit")
def test_the_context_can_be_filled_and_not_exceeded(variant, text, model_run, settings, alone, n):
    limit = min(settings.plan.context, model_run.checkpoint.context)
    if variant.variant.slow("prefill") and settings.plan.mode != "full":
        pytest.skip(f"a prompt of {limit} tokens takes too long here; --full has it")
    ids = (text.ids * (limit // len(text.ids) + 1))[:limit]
    assert [len(row) for row in generate(variant, [ids[:-2]], 2)] == [2]
    with pytest.raises(WorkerError, match=rf"{limit - 1} given and 2 new tokens need {limit + 1} .* {limit}\b"):
        generate(variant, [ids[:-1]], 2)
    assert generate(variant, rows_of(text, EQUAL)[:1], n) == [alone[0, EQUAL[0]]]


@pytest.mark.needs("generate", "batch")
@pytest.mark.consistency("empty")
def test_an_empty_prompt_is_named(variant, text):
    with pytest.raises(WorkerError, match=re.escape("row 2 of 2 is an empty prompt")):
        generate(variant, [text.ids[:4], []], 1)


@pytest.mark.needs("generate", "sampling")
def test_a_logit_bias_bans_a_token(variant, text):
    prompt = text.ids[:32]
    [said] = generate(variant, [prompt], SHORT, sampling=LIKELIEST)
    banned = max(said, key=said.index)

    [other] = generate(variant, [prompt], SHORT, sampling=LIKELIEST | {"logit_bias": {banned: -100.0}})

    assert banned not in other
