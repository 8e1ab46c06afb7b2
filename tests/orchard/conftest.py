"""Fixtures of a store's address where a test answers."""

from __future__ import annotations

import pytest

from orchard.store import objects
from tests.orchard.answering_store import ACCESS, SECRET, Authority, answer_all


@pytest.fixture
def impatient_store(monkeypatch):
    """The time limits of a request, shortened. The number of retries is the one in use."""
    for name, value in {"CONNECT_SECONDS": 1, "READ_SECONDS": 1, "DOCUMENT_SECONDS": 1, "RETRY_SECONDS": 1}.items():
        monkeypatch.setattr(objects, name, value)


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "credentials"
    path.write_text(f"[default]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n")
    return path


@pytest.fixture
def there():
    with answer_all() as running:
        yield running


@pytest.fixture
def authority(tmp_path):
    """A certificate authority."""
    return Authority(tmp_path)
