"""Tests that need another environment are excluded; the shared fixtures."""

import pytest

from tests.orchestration.release_fixture import FakeAirflow

collect_ignore = ["airflow"]  # `make pytest` runs it with .venv-airflow


@pytest.fixture
def api():
    """A fake of Airflow's API, which a test configures."""
    fake = FakeAirflow()
    yield fake
    fake.server.close()
