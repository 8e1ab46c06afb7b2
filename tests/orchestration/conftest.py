"""What of this folder is not for this environment, and what its tests share."""

import pytest

from tests.orchestration.release_fixture import FakeAirflow

collect_ignore = ["airflow"]  # `make pytest` runs it with .venv-airflow


@pytest.fixture
def api():
    """Airflow's API, answering as a test tells it to."""
    made = FakeAirflow()
    yield made
    made.server.close()
