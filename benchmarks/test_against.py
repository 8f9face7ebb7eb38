"""Against: is this tree slower or fatter than another one? Fresh workers of both take turns, restart by restart."""

import pytest

pytestmark = pytest.mark.against


@pytest.mark.needs("generate")
def test_against_the_old_side(versus):
    verdicts = versus()
    assert verdicts


@pytest.mark.last
def test_canaries(canaries):
    """What they find is a verdict, not a failure of this test."""
    found = canaries()
    assert found.lines
