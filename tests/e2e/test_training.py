"""A training Job that is killed goes on from its checkpoint, one beside it is not disturbed, no half version appears."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import versions

pytestmark = pytest.mark.timeout(3600)


def test_a_killed_job_is_retried_from_its_checkpoint(second):
    assert "resumes after epoch" in second.killed
    assert second.killed.count("── train (") == 2


def test_a_job_beside_it_is_not_disturbed(second):
    assert "resumes after epoch" not in second.spared
    assert second.spared.count("── train (") == 1


def test_each_published_once(second):
    assert second.version != second.other
    assert versions() == sorted([*second.before, second.version, second.other])
