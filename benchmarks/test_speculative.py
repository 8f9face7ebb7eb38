"""Speculative decoding: how much sooner the same text is there, task by task, and how many drafted tokens were kept."""

import random
import statistics

import pytest

from fixtures import corpus
from fixtures.speculative import KINDS, acceptance, seconds_a_token
from fixtures.speculative import workload as name_of
from fixtures.timing import worker_clock

pytestmark = [
    pytest.mark.needs("generate"), pytest.mark.once_an_engine, pytest.mark.long, pytest.mark.last,
    pytest.mark.benchmark(timer=worker_clock, group="speculative"),
]  # fmt: skip

ROUNDS = 3
WARM_UP = 8


@pytest.fixture(params=KINDS, ids=lambda kind: kind.replace(" ", "-"))
def prompts_of_a_kind(request, every_speculative_prompt, settings):
    """The first prompts of a kind of task."""
    count = 2 if settings.plan.mode == "full" else 1
    return [prompt for prompt in every_speculative_prompt if prompt.kind == request.param][:count]


@pytest.fixture
def in_turns(speculator, new_tokens, show):
    """in_turns(prompt): plainly and speculatively, in random order each round; seconds a token of both, and the answer with
    drafts, which in float32 has to be the same each time.
    """

    def run(prompt):
        ways = {"plain": speculator.say_plainly, "drafted": speculator.say}
        answers, rng = {name: [] for name in ways}, random.Random(prompt.id)
        for say in ways.values():
            say(prompt.ids, WARM_UP)
        with show(f"{speculator.resident.variant.label} {speculator.way} {prompt.id}") as update:
            for turn in range(ROUNDS):
                for name in rng.sample(list(ways), 2):
                    answers[name].append(ways[name](prompt.ids, new_tokens))
                update(turn + 1, ROUNDS)
        first, *others = answers["drafted"]
        same = all(first[name] == again[name] for again in others for name in ("tokens", "drafted", "accepted"))
        assert same or not speculator.is_exact, f"{prompt.id}: asked again it says, drafts or keeps something else"
        return {name: [seconds_a_token(answer) for answer in answers[name]] for name in ways}, first

    return run


def test_speedup(speculator, prompts_of_a_kind, in_turns, new_tokens, benchmark, judge):
    found = [in_turns(prompt) for prompt in prompts_of_a_kind]

    plain, drafted = (
        [sum(each) for each in zip(*(s[name] for s, _ in found), strict=True)] for name in ("plain", "drafted")
    )
    answers, told = [answer for _, answer in found], iter(drafted)
    benchmark.pedantic(lambda: worker_clock.advance(next(told)), rounds=len(drafted), iterations=1)
    accepted = [kept for answer in answers for kept in answer["accepted"]]
    workload = name_of(prompts_of_a_kind[0].kind, new_tokens, speculator.way)
    benchmark.extra_info |= {
        "variant": speculator.resident.variant.id,
        "workload": workload,
        "acceptance": acceptance(answers),
        "tokens_per_pass": 1 + statistics.fmean(accepted),
        "speedup": statistics.median(plain) / statistics.median(drafted),
        "speedup_expected": speculator.expected_speedup(answers, prompts_of_a_kind[0].ids),
    }
    inputs = {"draft": speculator.draft, "prompts": corpus.speculation_sha256()}
    ratios = [before / after for before, after in zip(plain, drafted, strict=True)]
    judge("speculative_speedup", workload, ratios, inputs=inputs)
    judge("drafts_kept", workload, [sum(accepted)], inputs=inputs)


@pytest.mark.against
def test_against_the_old_side(speculative_versus):
    assert speculative_versus()
