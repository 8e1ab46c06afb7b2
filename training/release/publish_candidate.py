"""A judged candidate becomes a version: everything is checked once more, then the registry commits it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard import __version__, documents, layout
from orchard.dataset import Dataset
from orchard.errors import ConflictError, DataError, GateRefused, IntegrityError
from orchard.golden import check_golden
from orchard.registry.channels import Channel
from orchard.registry.manifest import DatasetRef, GateRecord, PublishMetadata, publish_id
from orchard.registry.registry import PublishResult, Registry
from orchard.runs import records
from orchard.store import ObjectStore
from training.evaluation.manifest_metrics import record
from training.evaluation.report import read_evaluation
from training.model.candidate import Candidate, files_digest, read_candidate
from training.model.savedmodel_session import SavedModelSession, open_model
from training.release.gate_candidate import PAGE, check_belongs, read_verdict
from training.workspace import Workspace

__all__ = ["CandidatePublishResult", "check_golden_photos", "describe_code", "publish"]

VERB = "publish"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class CandidatePublishResult:
    """What came of it.

    Attributes:
        said: ``model``, ``version``, ``publish_id``, ``store``, ``manifest`` (its key), ``dataset``, ``gate``, ``code``;
            what the run keeps.
        created: whether this call made the version; otherwise the same content was there already.
    """

    said: Mapping[str, Any]
    created: bool


def check_golden_photos(session: SavedModelSession, model: Path) -> int:
    """Predict the golden photos of a loaded model and compare the answers with those that it was exported with.

    Args:
        session: the model, loaded.
        model: its folder.

    Returns:
        How many photos there are.

    Raises:
        IntegrityError: there are none, or an answer is another than it was.
    """

    def predict(photos: Sequence[bytes]) -> Iterable[tuple[str, float]]:
        answers = session.predict(photos)
        return zip(answers.labels, map(float, answers.probability), strict=True)

    return check_golden(model, predict, str(model))


def describe_code() -> str:
    """Which code this is: the package's version, and in a checkout what git calls it."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return __version__
    command = [git, "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no word of it from outside
    return f"{__version__}+{said.stdout.strip()}" if said.returncode == 0 and said.stdout.strip() else __version__


def _judged(workspace: Workspace, candidate: Candidate, channel: Channel) -> tuple[dict[str, Any], GateRecord]:
    """The evaluation and the gate's record, once it is certain that both are of this candidate and still hold."""
    evaluation = read_evaluation(workspace.evaluation)
    check_belongs(candidate, evaluation)
    verdict, sha256 = read_verdict(workspace.gate)
    if (verdict["candidate"], verdict["dataset"]["digest"]) != (candidate.digest, candidate.dataset_digest):
        raise DataError(
            f"the gate's verdict is on the model {verdict['candidate'][:12]}, the candidate is {candidate.digest[:12]}",
            hint="`orchard gate` judges the candidate that is there",
        )
    if verdict["verdict"] not in {"accepted", "refused", "overridden"}:
        raise IntegrityError(f"{workspace.gate} holds the unknown verdict {verdict['verdict']!r}")
    if verdict["verdict"] == "refused":
        raise GateRefused(
            f"the gate refused the candidate: {verdict['reason']}",
            hint=f"{workspace.gate / PAGE} says why; `orchard gate --override-reason TEXT` accepts it all the same",
        )
    _check_comparison(verdict, candidate, channel)
    return evaluation, GateRecord(verdict["verdict"], verdict["reason"], sha256)


def _check_comparison(verdict: Mapping[str, Any], candidate: Candidate, channel: Channel) -> None:
    """Require that the gate compared with the version that the channel points to now: a verdict covers no later one."""
    pointer = channel.read()
    compared = (verdict.get("comparison") or {}).get("version")
    if pointer is None or pointer.version == compared:
        return
    served = channel.registry.manifest(pointer.version, pointer.manifest_sha256)
    if files_digest(served.files) == candidate.digest:  # it is what was published from here; again changes nothing
        return
    before = f"version {compared}" if compared else "no version"
    raise DataError(
        f"the gate compared the candidate with {before}, but {channel.name} means version {pointer.version}",
        hint="`orchard gate` compares it with that one",
    )


def _facts(
    candidate: Candidate,
    evaluation: Mapping[str, Any],
    gate: GateRecord,
    registry: Registry,
    actor: str,
    run_id: str | None,
) -> PublishMetadata:
    found = Dataset(registry.store, candidate.dataset_name).find(candidate.dataset_digest)
    with open_model(candidate.model) as session:
        check_golden_photos(session, candidate.model)
        if session.classes != candidate.classes:
            raise IntegrityError(f"{candidate.model} names other classes than training did")
        return PublishMetadata(
            signatures=session.signatures,
            ops=session.ops,
            classes=session.classes,
            dataset=DatasetRef(candidate.dataset_name, found.version if found else None, candidate.dataset_digest),
            params_digest=candidate.params_digest,
            code=describe_code(),
            metrics={name: float(value) for name, value in record(evaluation).items()},
            gate=gate,
            created_by=actor,
            run_id=run_id,
        )


def _recorded(store: ObjectStore, run_id: str | None, identity: str) -> CandidatePublishResult | None:
    """What the same step of the same run recorded before it was killed or its reply was lost."""
    if run_id is None:
        return None
    said = records.recorded(store, run_id, VERB)
    if said is None:
        return None
    if said.get("publish_id") != identity:
        raise ConflictError(
            f"`{VERB}` in the run {run_id} has published something else before: version {said.get('version')}",
            hint="a run id belongs to one run: give this one another ORCHARD_RUN_ID",
        )
    return CandidatePublishResult(said, created=False)


def _document(registry: Registry, published: PublishResult, facts: PublishMetadata) -> dict[str, Any]:
    return {
        "model": registry.model,
        "version": published.version,
        "publish_id": published.publish_id,
        "store": registry.store.name,
        "manifest": layout.manifest(registry.model, published.version),
        "dataset": documents.encode(facts.dataset),
        "gate": documents.encode(facts.gate),
        "code": facts.code,
    }


def publish(
    workspace: Workspace, registry: Registry, channel: str, actor: str, run_id: str | None = None
) -> CandidatePublishResult:
    """Publish the candidate of a workspace as the model's next version.

    Killed anywhere and run again, it continues from there; the same content again is the same version. With a run id, the
    outcome is kept under ``runs/<run_id>/publish.json``, and a retry of the run finds it there.

    Args:
        workspace: where candidate, evaluation and verdict are.
        registry: where to publish; opened to sign.
        channel: the channel that the gate compared with.
        actor: who publishes.
        run_id: the run that this belongs to, None outside a run.

    Raises:
        GateRefused: the gate refused the candidate.
        DataError: candidate, evaluation and verdict do not belong together, one is missing, or the gate compared with
            another version than the channel points to now; nothing was written.
        IntegrityError: the model cannot be loaded or answers its golden photos differently; nothing was written.
        ConflictError: the run has published something else before.
        StoreError: the store did not do what was asked.
    """
    candidate = read_candidate(workspace.candidate)
    identity = publish_id(registry.model, candidate.files, candidate.dataset_digest, candidate.params_digest)
    before = _recorded(registry.store, run_id, identity)
    if before is not None:
        return before
    evaluation, gate = _judged(workspace, candidate, registry.channel(channel))
    facts = _facts(candidate, evaluation, gate, registry, actor, run_id)
    published = registry.publish(candidate.model, facts)
    document = _document(registry, published, facts)
    if run_id is not None:
        document = records.record(registry.store, run_id, VERB, document)
    return CandidatePublishResult(document, published.created)
