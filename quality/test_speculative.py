"""Speculative decoding is lossless: whatever is drafted, the text is the plain one, to the token, or to a proven near tie."""

import itertools
from functools import cache

import pytest

from fixtures.drafters import Table
from fixtures.goodness import probability_of_ranks
from fixtures.speculation import dense
from fixtures.speculative import outcomes

pytestmark = [pytest.mark.needs("generate", "logits"), pytest.mark.once_an_engine]

FEW = 24
SAMPLED = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "repetition_penalty": 1.0}
# The likeliest token alone, after the penalty: as good as greedy, so that texts can be compared.
PENALIZED = {"temperature": 1.0, "top_k": 1, "top_p": 1.0, "repetition_penalty": 1.3}
BIASED = PENALIZED | {"repetition_penalty": 1.0}
NEVER, ALWAYS = -100.0, 100.0
# So warm that no token is nearly certain. Of a surer model's drafts about half are kept; a loop that draws anew from the
# target in place of the rest is seen after some 500 tokens. One as sure as the target shows less.
WARM = {"temperature": 1.0, "top_k": 4, "top_p": 1.0, "repetition_penalty": 1.0}
NUCLEUS = {"temperature": 1.1, "top_k": 8, "top_p": 0.8, "repetition_penalty": 1.0}
# So many tokens after each prompt of so many; or so few, so often.
START, SPOKEN = 16, 128
BRIEF, RUNS = 4, 200
ALPHA = 1e-6
ROWS = 2
ADVERSARIES = ("wrong", "end", "noise")


def unexplained(found):
    return [flip for flip in found if not flip.explained]


def rejections(answers):
    """Passes that kept less than was drafted; but for the last ones, whose drafts may reach beyond the end."""
    passes = [pair for each in answers for pair in zip(each["drafted"][:-1], each["accepted"][:-1], strict=True)]
    return sum(kept < drafted for drafted, kept in passes)


def drafted_and_kept(answers):
    return [sum(itertools.chain.from_iterable(each[name] for each in answers)) for name in ("drafted", "accepted")]


def passed_over(answer):
    """Tokens that are in the text and in no pass, or the other way round: each pass adds one to what it keeps."""
    return len(answer["tokens"]) - answer["first"] - sum(kept + 1 for kept in answer["accepted"]) - answer["last"]


def test_greedy_text_is_the_plain_one(speculator, speculative_prompts, new_tokens):
    answers = [speculator.say(prompt.ids, new_tokens) for prompt in speculative_prompts]

    found = [
        flip
        for prompt, answer in zip(speculative_prompts, answers, strict=True)
        for flip in speculator.flips(prompt.ids, new_tokens, answer["tokens"])
    ]
    assert unexplained(found) == []
    assert len(found) <= speculator.budget(new_tokens * len(answers))
    assert [passed_over(each) for each in answers] == [0] * len(answers)
    drafted, kept = drafted_and_kept(answers)
    # Not in vain: there were drafts, some were kept, and some were not, unless they are its own words.
    assert kept > 0
    assert rejections(answers) > 0 or speculator.drafts_for_itself
    assert rejections(answers) <= speculator.most_rejections(drafted)


@pytest.mark.long
@pytest.mark.parametrize("gamma", range(1, 9))
def test_any_length_of_drafts(speculator, speculative_prompts, gamma):
    if speculator.way.kind == "configured":
        pytest.skip("how long drafts are is a part of what was configured")
    ids = speculative_prompts[0].ids

    said = speculator.say(ids, FEW, gamma=gamma)

    found = speculator.flips(ids, FEW, said["tokens"], gamma=gamma)
    assert unexplained(found) == []
    assert len(found) <= speculator.budget(FEW)
    assert 0 < max(said["drafted"]) <= gamma
    # A model always has something more to say.
    assert max(said["drafted"]) == gamma or speculator.way.kind != "model"


@pytest.mark.long
@pytest.mark.consistency("sampled_drafts")
@pytest.mark.usefixtures("in_float32")
def test_a_repetition_penalty_counts_what_was_drafted(speculator, speculative_prompts):
    ids = speculative_prompts[0].ids

    said = speculator.say(ids, FEW, sampling=PENALIZED)

    assert said["tokens"] == speculator.plain(ids, FEW, sampling=PENALIZED)


@pytest.mark.long
@pytest.mark.consistency("sampled_drafts")
def test_a_seed_says_the_same_again(speculator, speculative_prompts):
    ids = speculative_prompts[1].ids

    first, again, other = (speculator.say(ids, FEW, sampling=SAMPLED, seed=seed)["tokens"] for seed in (5, 5, 6))

    assert first == again
    assert first != other


@pytest.fixture
def chances(variant):
    """chances(ids, said, sampling): of each token said after the prompt the probabilities [vocabulary] that it should have."""

    def of(ids, said, sampling):
        text = [*ids, *said]
        [logits] = variant.call("window_logits", windows=[text[:-1]])
        return [dense(logits[at - 1], text[:at], sampling) for at in range(len(ids), len(text))]

    return of


@pytest.fixture
def drawn_drafts(speculator):
    if speculator.way.kind != "model":
        pytest.skip("this way's drafts are certain, which have a test of their own")


@pytest.mark.usefixtures("drawn_drafts", "in_float32")
@pytest.mark.long
@pytest.mark.consistency("sampled_drafts")
def test_sampled_text_has_the_targets_distribution(speculator, speculative_prompts, chances):
    starts = list(itertools.product([prompt.ids[:START] for prompt in speculative_prompts[:2]], (WARM, NUCLEUS)))

    answers = [
        speculator.say(ids, SPOKEN, gamma=2, sampling=sampling, seed=seed)
        for seed, (ids, sampling) in enumerate(starts)
    ]

    drawn = []
    for (ids, sampling), answer in zip(starts, answers, strict=True):
        drawn += zip(answer["tokens"], chances(ids, answer["tokens"], sampling), strict=True)
    assert probability_of_ranks(drawn) > ALPHA
    drafted, kept = drafted_and_kept(answers)
    assert 0 < kept <= drafted
    assert kept < drafted or speculator.drafts_for_itself


@pytest.fixture
def likeliest(chances, speculative_prompts, tmp_path):
    """A prompt, each text that may come after it, and a table whose drafts are the likeliest of them."""
    ids = speculative_prompts[0].ids[:START]
    known = cache(lambda said: chances(ids, [*said, 0], WARM)[-1])
    texts = outcomes(known, BRIEF)
    said = {text[:at] for text in texts for at in range(BRIEF)}
    path = tmp_path / "table.json"
    Table({(*ids[-1:], *each)[-2:]: int(known(each).argmax()) for each in said}).write(path)
    return ids, known, str(path)


@pytest.mark.long
@pytest.mark.consistency("sampled_drafts")
@pytest.mark.usefixtures("in_float32")
def test_sampled_text_after_certain_drafts_has_the_targets_distribution(loop_with, likeliest):
    loop, (ids, known, table) = loop_with("table"), likeliest

    answers = [
        loop.say(ids, BRIEF, gamma=2, sampling=WARM, seed=seed, arguments={"path": table}) for seed in range(RUNS)
    ]

    texts = [tuple(answer["tokens"]) for answer in answers]
    drawn = [(text[at], known(text[:at])) for text in texts for at in range(1, BRIEF)]
    assert probability_of_ranks(drawn) > ALPHA
    drafted, kept = drafted_and_kept(answers)
    # Of so short a text an engine's own loop counts next to nothing: neither the prompt's pass nor the last one.
    assert 0 < kept < drafted or loop.way.own


@pytest.mark.long
@pytest.mark.usefixtures("in_float32")
def test_a_draft_of_what_it_will_say_is_kept(loop_with, speculative_prompts):
    loop, ids = loop_with("told"), speculative_prompts[1].ids
    expected = loop.plain(ids, FEW)

    said = loop.say(ids, FEW, arguments={"prompt": len(ids), "tokens": expected})

    # The last draft may reach beyond the end.
    assert said["accepted"][:-1] == said["drafted"][:-1]
    assert max(said["accepted"]) == loop.gamma


@pytest.mark.long
@pytest.mark.consistency("sampled_drafts")
@pytest.mark.usefixtures("in_float32")
def test_a_penalty_counts_what_is_kept(loop_with, speculative_prompts):
    loop, ids = loop_with("told"), speculative_prompts[1].ids
    expected = loop.plain(ids, FEW, sampling=PENALIZED)

    said = loop.say(ids, FEW, sampling=PENALIZED, arguments={"prompt": len(ids), "tokens": expected})

    assert sum(said["accepted"]) > 0
    assert said["tokens"] == expected


@pytest.mark.long
@pytest.mark.consistency("biased_drafts")
@pytest.mark.usefixtures("in_float32")
def test_a_logit_bias_holds_within_a_draft(loop_with, speculative_prompts):
    loop, ids = loop_with("told"), speculative_prompts[1].ids
    unbiased = loop.plain(ids, FEW, sampling=BIASED)
    # As late as one comes for the first time, so that some of what is drafted is right.
    banned = max(unbiased, key=unbiased.index)
    sampling = BIASED | {"logit_bias": {banned: NEVER}}
    expected = loop.plain(ids, FEW, sampling=sampling)

    said = loop.say(ids, FEW, sampling=sampling, arguments={"prompt": len(ids), "tokens": unbiased})

    assert banned not in expected
    assert said["tokens"] == expected
    # What comes before the second draft need not be counted.
    assert sum(said["accepted"]) > 0 or unbiased.index(banned) <= 2 * (loop.gamma + 1)


@pytest.mark.long
@pytest.mark.consistency("biased_drafts")
@pytest.mark.usefixtures("in_float32")
def test_a_logit_bias_holds_after_a_whole_draft(loop_with, speculative_prompts, model_run):
    loop, ids = loop_with("told"), speculative_prompts[1].ids
    unbiased = loop.plain(ids, FEW, sampling=BIASED)
    wanted = next(token for token in range(model_run.checkpoint.vocab) if token not in unbiased)
    sampling, expected = BIASED | {"logit_bias": {wanted: ALWAYS}}, [wanted] * FEW

    said = loop.say(ids, FEW, sampling=sampling, arguments={"prompt": len(ids), "tokens": expected})

    assert said["tokens"] == expected
    assert max(said["accepted"]) == loop.gamma


@pytest.mark.long
@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_no_draft_changes_the_text(loop_with, speculative_prompts, model_run, adversary):
    loop, ids, vocabulary = loop_with("told"), speculative_prompts[1].ids, model_run.checkpoint.vocab
    ends = (model_run.checkpoint.ends or [0])[:1]
    wrong = [(token + 1) % vocabulary for token in loop.plain(ids, FEW)]
    more = {
        "wrong": {"arguments": {"prompt": len(ids), "tokens": wrong}},
        "end": {"arguments": {"prompt": len(ids), "tokens": ends * FEW}},
        "noise": {"kind": "noise", "arguments": {"vocabulary": vocabulary}},
    }[adversary]

    said = loop.say(ids, FEW, **more)

    found = loop.flips(ids, FEW, said["tokens"], **more)
    assert unexplained(found) == []
    assert len(found) <= loop.budget(FEW)
    drafted, kept = drafted_and_kept([said])
    assert kept <= 0.1 * drafted
    assert drafted > 0


@pytest.mark.long
@pytest.mark.needs("draft_batches")
@pytest.mark.usefixtures("in_float32")
def test_rows_with_drafts_and_rows_without_say_what_each_would_alone(loop_with, speculative_prompts):
    loop, longest = loop_with("told"), max((prompt.ids for prompt in speculative_prompts), key=len)
    # Drafts are told by the length of the text so far, which none of these reaches.
    short = [prompt.ids[: len(longest) - FEW - 1] for prompt in speculative_prompts[:ROWS]]
    rows = [longest, *short]
    expected = [loop.plain(ids, FEW) for ids in rows]

    first, *others = loop.say_together(rows, FEW, arguments={"prompt": len(longest), "tokens": expected[0]})

    assert [each["tokens"] for each in (first, *others)] == expected
    assert sum(first["accepted"]) > 0
    assert [sum(each["drafted"]) for each in others] == [0] * len(short)


@pytest.mark.long
@pytest.mark.needs("draft_batches")
@pytest.mark.consistency("sampled_drafts")
@pytest.mark.usefixtures("in_float32")
def test_rows_draw_what_each_would_alone_beside_rows_with_drafts(loop_with, speculative_prompts):
    loop, longest = loop_with("told"), max((prompt.ids for prompt in speculative_prompts), key=len)
    short = [prompt.ids[: len(longest) - FEW - 1] for prompt in speculative_prompts[:ROWS]]
    drafts = {"prompt": len(longest), "tokens": loop.plain(longest, FEW, sampling=WARM, seed=5)}
    alone = loop.say(longest, FEW, sampling=WARM, seed=5, arguments=drafts)["tokens"]

    first, *others = loop.say_together([longest, *short], FEW, sampling=WARM, seed=5, arguments=drafts)

    # Where nothing is drafted a token takes one number, as plainly.
    assert [each["tokens"] for each in others] == [loop.plain(ids, FEW, sampling=WARM, seed=5) for ids in short]
    assert first["tokens"] == alone
    assert sum(first["drafted"]) > 0
