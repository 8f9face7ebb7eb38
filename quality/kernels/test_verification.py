"""Speculative sampling is lossless: whatever drafts are drawn from, what is said has the target's own distribution."""

from collections import Counter

import numpy as np
import pytest

from fixtures.goodness import probability

pytestmark = pytest.mark.needs("verification")

VOCABULARY, DRAFTED, RUNS = 8, 3, 6000
# Of one test; the draws are the same each time, so this is a matter of the choice of seeds alone.
ALPHA = 1e-6
SEEDS = (1, 2, 3)
# Drafts drawn from a distribution of their own, or certain ones, as lookups have them.
DRAFTS = {
    "drawn": lambda p, rng: rng.dirichlet(np.full(VOCABULARY, 0.8), DRAFTED),
    "certain": lambda p, rng: np.eye(VOCABULARY)[p[:-1].argmax(axis=1)],
}


@pytest.fixture(params=[(seed, kind) for kind in DRAFTS for seed in SEEDS], ids=lambda each: f"{each[1]}-{each[0]}")
def case(request):
    """Target and draft distributions that differ, and drafts drawn from the latter."""
    seed, kind = request.param
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(VOCABULARY, 0.8), DRAFTED + 1)
    q = DRAFTS[kind](p, rng)
    tokens = np.stack([rng.choice(VOCABULARY, RUNS, p=row) for row in q], axis=1)
    return p, q, tokens


@pytest.fixture(scope="module")
def verified():
    """By kernel and both distributions, what it has answered: several tests look at it."""
    return {}


@pytest.fixture
def outcome(kernel, case, verified):
    """Of each run, how many tokens were kept, and the tokens that were said [runs, drafted + 1]; -1: none."""
    p, q, tokens = case
    asked = kernel.kernel.id, p.tobytes(), q.tobytes()
    if asked not in verified:
        verified[asked] = kernel.call("verify", form=kernel.form.name, p=p, q=q, tokens=tokens, seed=0)
    found = verified[asked]
    places = np.arange(DRAFTED + 1)
    said = np.where(places < found["kept"][:, None], np.pad(tokens, ((0, 0), (0, 1))), -1)
    said[np.arange(RUNS), found["kept"]] = found["next"]
    return found["kept"], said


def fit(said, p):
    return probability(Counter(said.tolist()), dict(enumerate(p)))


@pytest.mark.parametrize("place", range(DRAFTED))
def test_each_token_has_the_targets_distribution(case, outcome, place):
    (p, _, _), (kept, said) = case, outcome

    # A token is said at that place wherever all before it were kept.
    assert fit(said[kept >= place, place], p[place]) > ALPHA


def test_the_token_after_a_whole_draft_has_the_targets_distribution(case, outcome):
    (p, _, _), (kept, said) = case, outcome

    assert fit(said[kept == DRAFTED, DRAFTED], p[DRAFTED]) > ALPHA


def test_as_many_are_kept_as_the_distributions_allow(kernel, case, outcome):
    (p, q, _), (kept, _) = case, outcome

    assert abs(kept.mean() - kernel.form.kept(p, q)) <= 5 * kept.std() / RUNS**0.5


def test_a_token_that_the_target_never_says_is_not_kept(kernel):
    # By the smallest number that a generator of uniforms gives.
    p, q = np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([[1.0, 0.0]])

    found = kernel.call("verify", form=kernel.form.name, p=p, q=q, tokens=np.zeros((1, 1), int), seed=0, uniform=0.0)

    assert found["kept"] == [0]
    assert found["next"] == [1]


def test_a_draft_from_the_very_same_distribution_is_kept(kernel):
    p = np.array([[0.3, 0.7], [0.5, 0.5]])

    found = kernel.call(
        "verify", form=kernel.form.name, p=p, q=p[:1], tokens=np.ones((1, 1), int), seed=0, uniform=1 - 2.0**-24
    )

    assert found["kept"] == [1]


@pytest.mark.needs("temper")
def test_a_temperature_is_each_requests_own(kernel):
    drafted, temperatures = np.array([1, 3, 2]), np.array([0.5, 1.0, 2.0])
    p = np.random.default_rng(0).dirichlet(np.ones(VOCABULARY), drafted.sum())

    found = kernel.call("temper", form=kernel.form.name, p=p, drafted=drafted, temperatures=temperatures)

    assert np.allclose(found, kernel.form.tempered(p, drafted, temperatures), atol=1e-5)


def test_a_draft_that_is_too_likely_by_a_rounding_ends_nothing(kernel):
    # Rejected, it leaves nothing that the target has more of, or next to nothing; a token that it may say has to come all the
    # same.
    rng = np.random.default_rng(0)
    targets = np.pad(rng.dirichlet(np.ones(VOCABULARY - 1), 40), ((0, 0), (1, 0))).astype(np.float32)
    drafts, tokens = targets.copy(), targets.argmax(axis=1)
    drafts[np.arange(len(drafts)), tokens] += 2 * np.spacing(targets.max(axis=1))

    def fails(p, q, token):
        asked = {
            "p": np.stack([p, p]).astype(float), "q": q[None].astype(float), "tokens": np.full((1, 1), token), "seed": 0,
            "uniform": 1 - 2.0**-24,
        }  # fmt: skip
        return (
            kernel.refuses("verify", **asked) or not p[kernel.call("verify", form=kernel.form.name, **asked)["next"][0]]
        )

    assert not any(fails(p, q, token) for p, q, token in zip(targets, drafts, tokens, strict=True))
