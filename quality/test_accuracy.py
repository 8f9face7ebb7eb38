"""Accuracy: how often the right choice is the likeliest, on the built-in cloze task."""

import numpy as np
import pytest

from fixtures import corpus
from fixtures.metrics import flips


@pytest.mark.needs("score")
def test_cloze(variant, text, reference, show, judge):
    with show(f"{variant.variant.id} cloze, {len(text.items)} items") as update:
        logprobs = variant.call("choose", update, items=text.items)["logprobs"]
    assert np.isfinite(logprobs).all()
    right = logprobs.argmax(axis=1) == text.answers
    lost, won = flips(reference.choice_logprobs.argmax(axis=1) == text.answers, right)
    details = {"lost_to_reference": lost, "won_from_reference": won}
    judge("accuracy", "cloze", right, inputs={"cloze": corpus.cloze_sha256()}, details=details)
