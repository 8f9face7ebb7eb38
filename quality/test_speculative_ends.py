"""Where speculative decoding ends: at lengths, stop tokens and texts, a full context, within drafts too, and nowhere else."""

import pytest

from fixtures import corpus
from fixtures.launcher import WorkerError
from fixtures.speculative import Way

pytestmark = [pytest.mark.needs("generate", "logits"), pytest.mark.once_an_engine, pytest.mark.long]

FEW = 24
# So many tokens are left where the context is almost full: more than two passes of a whole draft may say.
END = 14


def late_ends(loop, prompts, within=True):
    """Prompts, their plain texts, and lengths of these, beyond two drafts of what will be said: within a draft, or, of a loop
    that drafts beside the prompt already, by the token that the target adds to one.
    """
    for prompt in prompts:
        expected = loop.plain(prompt.ids, FEW)
        for end in range(2 * (loop.gamma + 1) + 1, FEW):
            left = end % (loop.gamma + 1)
            if left > 1 if within else left == 0:
                yield prompt.ids, expected, end


def late_stop(loop, prompts):
    """A prompt, its plain text, and how much of it ends with a token that was not there before, within a draft."""
    for ids, expected, end in late_ends(loop, prompts):
        if expected[end - 1] not in expected[: end - 1]:
            return ids, expected, end
    pytest.skip("every text repeats itself from its first drafts on")


def late_text(loop, prompts, directory, within):
    """The same, and the text that ends there and was not there before."""
    for ids, expected, end in late_ends(loop, prompts, within):
        before, after = corpus.detokenize(directory, [expected[: end - 1], expected[:end]])
        text = after.removeprefix(before)
        if after.startswith(before) and "\ufffd" not in text and text not in before:
            return ids, expected, end, text
    pytest.skip("no text ends with one that was not there before")


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_it_ends_at_the_length(speculator, speculative_prompts, n):
    said = speculator.say(speculative_prompts[0].ids, n)

    assert len(said["tokens"]) == n


@pytest.mark.usefixtures("in_float32")
def test_it_ends_at_a_stop_token(speculator, speculative_prompts):
    ids = speculative_prompts[0].ids
    expected = speculator.plain(ids, FEW)
    # The one that comes for the first time as late as one does.
    stop = max(expected, key=expected.index)

    said = speculator.say(ids, FEW, stop=[stop])

    assert said["tokens"] == expected[: expected.index(stop) + 1]


@pytest.mark.usefixtures("in_float32")
def test_a_stop_token_within_a_draft_ends_it(loop_with, speculative_prompts):
    loop = loop_with("told")
    ids, expected, end = late_stop(loop, speculative_prompts)

    said = loop.say(ids, FEW, stop=[expected[end - 1]], arguments={"prompt": len(ids), "tokens": expected})

    assert sum(said["accepted"]) > 0
    assert said["tokens"] == expected[:end]


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("n", range(3, 13))
def test_a_length_within_a_draft_ends_it(loop_with, speculative_prompts, n):
    loop, ids = loop_with("told"), speculative_prompts[0].ids
    expected = loop.plain(ids, FEW)

    said = loop.say(ids, n, arguments={"prompt": len(ids), "tokens": expected})

    assert said["tokens"] == expected[:n]
    # Of a loop that is told to end by whoever runs it the last pass, maybe cut off, is not counted.
    assert sum(said["drafted"]) > 0 or said["first"] > 1 or n <= loop.gamma + 2


@pytest.mark.own_loop
@pytest.mark.needs("text_stops")
@pytest.mark.usefixtures("in_float32")
def test_a_stop_text_at_the_end_of_a_draft_ends_it(loop_with, speculative_prompts, model_run):
    assert_it_ends_at_a_text(loop_with("told"), speculative_prompts, model_run.checkpoint.directory, within=False)


@pytest.mark.own_loop
@pytest.mark.needs("text_stops")
@pytest.mark.consistency("text_stops")
@pytest.mark.usefixtures("in_float32")
def test_a_stop_text_within_a_draft_ends_it(loop_with, speculative_prompts, model_run):
    assert_it_ends_at_a_text(loop_with("told"), speculative_prompts, model_run.checkpoint.directory, within=True)


def assert_it_ends_at_a_text(loop, prompts, directory, within):
    ids, expected, end, text = late_text(loop, prompts, directory, within)

    said = loop.say(ids, FEW, stop_text=text, arguments={"prompt": len(ids), "tokens": expected})

    assert said["tokens"] == expected[:end]
    assert sum(said["accepted"]) > 0


@pytest.mark.needs("text_stops")
@pytest.mark.consistency("text_stops_of_models")
@pytest.mark.usefixtures("in_float32")
def test_a_stop_text_ends_what_a_model_drafts(speculator, speculative_prompts, model_run):
    if speculator.way != Way("model", own=True):
        pytest.skip("stop texts of an engine's own loop, beside a draft model")
    ids, expected, end, text = late_text(speculator, speculative_prompts, model_run.checkpoint.directory, within=False)

    said = speculator.say(ids, FEW, stop_text=text)

    assert text in corpus.detokenize(model_run.checkpoint.directory, [said["tokens"]])[0]
    assert said["tokens"][:end] == expected[:end]
    assert len(said["tokens"]) < FEW


@pytest.mark.usefixtures("in_float32")
def test_an_end_that_is_drafted_and_not_said_ends_nothing(loop_with, speculative_prompts, model_run):
    loop, ids, ends = loop_with("told"), speculative_prompts[1].ids, (model_run.checkpoint.ends or [0])[:1]
    expected = loop.plain(ids, FEW, stop=ends)

    said = loop.say(ids, FEW, stop=ends, arguments={"prompt": len(ids), "tokens": ends * FEW})

    assert said["tokens"] == expected
    # What ends at once leaves nothing to be drafted.
    assert sum(said["drafted"]) > 0 or len(expected) <= 2


@pytest.fixture
def longest(variant, text, model_run, settings):
    """A text that fills the context."""
    limit = min(settings.plan.context, model_run.checkpoint.context)
    if variant.variant.slow("prefill") and settings.plan.mode != "full":
        pytest.skip(f"a prompt of {limit} tokens takes too long here; --full has it")
    return (text.ids * (limit // len(text.ids) + 1))[:limit]


def almost(loop, longest):
    """As much of it as leaves room for the END in the loop's own cache."""
    own = loop.resident.variant.engine_class.own_positions if loop.way.own else None
    return longest[: min(len(longest), own or len(longest)) - END]


def test_the_context_can_be_filled_and_not_exceeded(loop_with, longest):
    loop = loop_with("told")
    ids = almost(loop, longest)
    expected = loop.plain(ids, END)

    said = loop.say(ids, END, arguments={"prompt": len(ids), "tokens": expected})

    assert len(said["tokens"]) == END
    assert said["tokens"] == expected or not loop.is_exact
    assert sum(said["drafted"]) > 0
    with pytest.raises(WorkerError, match=f"need {len(longest) + 1} positions"):
        loop.say(longest[: 1 - END], END, kind="lookup", arguments={})


def test_a_draft_model_fills_the_context_too(speculator, longest):
    if speculator.way.kind != "model":
        pytest.skip("this way has no model whose cache could be too small")
    ids = almost(speculator, longest)

    said = speculator.say(ids, END)

    assert len(said["tokens"]) == END
    assert said["tokens"] == speculator.plain(ids, END) or not speculator.is_exact
    assert sum(said["drafted"]) > 0
