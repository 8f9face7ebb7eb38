"""The suite's options and hooks live in `fixtures/session.py`, its fixtures in `fixtures/pytest_fixtures.py`."""

pytest_plugins = ("fixtures.session", "fixtures.pytest_fixtures")
