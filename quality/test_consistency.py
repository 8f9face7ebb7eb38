"""Consistency: what must hold of one variant with itself, whatever its quality."""

import numpy as np
import pytest

WINDOW, SPLIT = 48, 40


def root_mean_square(differences):
    return float(np.sqrt(np.mean(np.square(differences))))


@pytest.mark.needs("score", "stepwise")
@pytest.mark.consistency("cache")
def test_prefill_and_decode_equal_one_pass(variant, text):
    nll = variant.call("incremental", ids=text.ids[:WINDOW], split=SPLIT)
    assert root_mean_square(nll["cached"] - nll["whole"]) <= variant.variant.scheme.noise_nats


@pytest.mark.needs("score", "batch")
@pytest.mark.consistency("batch")
def test_batch_rows_are_independent(variant, text):
    windows = [text.ids[start : start + length] for start, length in ((0, 48), (100, 40), (200, 32))]
    nll = variant.call("batched", windows=windows)
    assert root_mean_square(nll["together"] - nll["alone"]) <= variant.variant.scheme.noise_nats


@pytest.mark.needs("score", "batch")
@pytest.mark.consistency("repeat")
def test_same_input_twice_gives_the_same_output(variant, text):
    windows = [text.ids[300:340]]
    nll = variant.call("batched", windows=windows)
    np.testing.assert_array_equal(nll["again"], nll["alone"])
