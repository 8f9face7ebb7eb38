"""Load: how long a model takes to be ready, and how many bytes its weights are."""

import pytest

from fixtures.resident import Resident

pytestmark = pytest.mark.needs("resident")


def test_load_time(variant: Resident, judge):
    measured = judge("load_time", "load", [variant.facts["load_seconds"]])
    assert measured.value > 0


def test_weight_bytes(variant: Resident, judge):
    measured = judge("weight_bytes", "load", [variant.facts["weight_bytes"]])
    assert measured.value > 0
