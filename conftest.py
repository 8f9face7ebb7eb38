"""The suite's options and hooks live in `fixtures/session.py`, `collection.py`, `kernel_session.py`, `mutant_session.py`,
`speculative_session.py` and `spread.py`, its fixtures in `pytest_fixtures.py`."""

pytest_plugins = (
    "fixtures.session",
    "fixtures.collection",
    "fixtures.spread",
    "fixtures.pytest_fixtures",
    "fixtures.kernel_session",
    "fixtures.mutant_session",
    "fixtures.speculative_session",
)
