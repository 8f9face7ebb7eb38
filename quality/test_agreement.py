"""Agreement: what computes in a float type is about as far from float64 as that type makes it, and no further."""

import pytest

# An engine may sum in another order, and keep its cache in another type, than the library that gives the measure.
FACTOR = 4
# The share of greedy steps that may fall on the other side of a near tie, beyond those of the measure itself.
CHANCE = {"float32": 0.0, "bfloat16": 0.02, "float16": 0.02}


@pytest.fixture
def distance(variant, exact):
    """How far the variant's float type is from float64 by itself."""
    dtype = variant.variant.scheme.dtype
    if dtype not in exact.distances:
        pytest.skip(f"nothing tells how far {dtype or variant.variant.scheme.name} is from float64 by itself")
    return exact.distances[dtype]


@pytest.mark.needs("score", "float")
@pytest.mark.consistency("float64")
def test_log_probabilities_are_those_of_float64(exact, distance, score, settings):
    nll = score(settings.plan.protocols(slow=True)[0])["nll"]
    ratio = exact.error(nll) / distance.error
    assert ratio <= FACTOR, f"{ratio:.1f} times as far from float64 as {distance.error:.2g} nats"


@pytest.mark.needs("generate", "batch", "logits", "float")
@pytest.mark.consistency("float64-greedy")
def test_greedy_tokens_are_those_of_float64(variant, exact, distance):
    flips = exact.flips(variant.call)
    assert [flip for flip in flips if not flip.explained or flip.noise > FACTOR * distance.noise] == []
    assert len(flips) <= FACTOR * distance.flips + CHANCE[variant.variant.scheme.dtype] * exact.steps
