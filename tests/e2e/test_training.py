"""A training Job that is killed goes on from its checkpoint, and no half version appears."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import versions

pytestmark = pytest.mark.timeout(1800)


def test_a_killed_job_is_retried_from_its_checkpoint(second):
    assert "goes on after epoch" in second.log
    assert second.log.count("── train (") == 2


def test_it_published_once(second):
    listed = [int(item["version"]) for item in versions()]

    assert len(listed) == second.versions_before + 1
    assert second.version == max(listed)
