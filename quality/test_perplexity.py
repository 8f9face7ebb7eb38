"""Perplexity: how well the variant predicts text it has not seen, and the limit its scheme may not exceed."""

import math

import pytest

pytestmark = pytest.mark.needs("score")


def test_perplexity(variant, protocol, text, score, judge):
    rule, tokens = protocol
    scored = score(protocol)
    where = {"groups": tuple(scored["groups"]), "inputs": {"corpus": text.corpus.sha256, "protocol": rule.name}}
    measured = judge("perplexity", f"{rule.name}@{tokens}", scored["nll"], **where)
    assert math.isfinite(measured.value)


def test_perplexity_limit(variant, score, settings, limits):
    score(settings.plan.protocols(slow=True)[0])
    assert limits() == []
