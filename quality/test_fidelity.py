"""Fidelity: how the variant's predictions differ from the reference's on the same ids."""

import pytest

from fixtures.metrics import first_divergence
from fixtures.workload import prompt


@pytest.mark.needs("score")
def test_divergence(variant, text, score, settings, judge):
    rule, tokens = protocol = settings.plan.protocols(slow=True)[0]
    scored = score(protocol)
    where = {"groups": tuple(scored["groups"]), "inputs": {"corpus": text.corpus.sha256, "protocol": rule.name}}
    # Who tells the likeliest tokens only leaves a bound, which is a figure of its own.
    metric, nats = ("kl_divergence", scored["kl"]) if "kl" in scored else ("kl_lower_bound", scored["kl_lower_bound"])
    tails = {"p99": sorted(nats)[int(0.99 * len(nats))], "max": max(nats)}
    divergence = judge(metric, f"{rule.name}@{tokens}", nats, details=tails, **where)
    agreement = judge("top1_agreement", f"{rule.name}@{tokens}", scored["top1"], **where)
    assert divergence.value >= -1e-6
    assert agreement.value > 0


@pytest.mark.needs("generate", "batch")
def test_first_divergent_token(variant, text, reference, settings, judge):
    workload = settings.plan.greedy
    prompts = prompt(text.ids, workload)
    answer = variant.call("generate", batch=prompts, n=workload.new)
    agreed = [first_divergence(theirs, ours) for theirs, ours in zip(reference.greedy, answer["tokens"], strict=True)]
    inputs = {"corpus": text.corpus.sha256}
    measured = judge("first_divergence", workload, agreed, inputs=inputs, details={"tokens": answer["tokens"]})
    assert 0 <= measured.value <= workload.new
