"""Publish an evaluated candidate as a version: everything is checked once more, then the registry commits it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard import documents, layout
from orchard.dataset import Dataset
from orchard.errors import ConflictError, DataError, GateRefused, IntegrityError
from orchard.golden import check_golden
from orchard.registry.cards import keep_card, read_card
from orchard.registry.channels import Channel
from orchard.registry.manifest import DatasetRef, GateRecord, Manifest, PublishMetadata, publish_id
from orchard.registry.registry import PublishResult, Registry
from orchard.registry.version_overview import read_pointers
from orchard.registry.version_report import keep_report, read_report
from orchard.runs import records
from orchard.store import ObjectStore
from training import pages
from training.code_version import describe_code
from training.evaluation.manifest_metrics import collect_metrics
from training.evaluation.report import read_evaluation, read_pictures
from training.model.candidate import Candidate, files_digest, read_candidate
from training.model.savedmodel_session import SavedModelSession, open_model
from training.release.candidate_report import make_report
from training.release.gate_candidate import PAGE, check_evaluation, read_verdict
from training.release.model_card import make_card, write_card
from training.workspace import Workspace

__all__ = ["CandidatePublishResult", "check_golden_photos", "publish"]

VERB = "publish"
ASKED = 1000
"""The newest versions that are searched for looks at the same test photos."""

THREADS = 8


@dataclass(frozen=True, slots=True)
class CandidatePublishResult:
    """The result of `publish`.

    Attributes:
        record: ``model``, ``version``, ``publish_id``, ``store``, ``manifest`` and ``card`` (keys), ``dataset``, ``gate``, ``code``;
            the run's record has the same.
        created: whether this call made the version; False: the same content was there already.
    """

    record: Mapping[str, Any]
    created: bool


def check_golden_photos(session: SavedModelSession, model: Path) -> int:
    """Predict the golden photos of a loaded model and compare with the predictions of the export.

    Args:
        session: the loaded model.
        model: its folder.

    Returns:
        The number of golden photos.

    Raises:
        IntegrityError: there are none, or a prediction differs.
    """

    def predict(photos: Sequence[bytes]) -> Iterable[tuple[str, float]]:
        answers = session.predict(photos)
        return zip(answers.labels, map(float, answers.probability), strict=True)

    return check_golden(model, predict, str(model))


@dataclass(frozen=True, slots=True)
class _Reports:
    """The evaluation of a candidate and the gate's verdict, and the verdict's record for the manifest."""

    evaluation: dict[str, Any]
    verdict: dict[str, Any]
    gate: GateRecord


def _check_gate(workspace: Workspace, candidate: Candidate, channel: Channel) -> _Reports:
    """Return the reports, after checking that they are of this candidate and still valid."""
    evaluation = read_evaluation(workspace.evaluation)
    check_evaluation(candidate, evaluation)
    verdict, sha256 = read_verdict(workspace.gate)
    if (verdict["candidate"], verdict["dataset"]["digest"]) != (candidate.digest, candidate.dataset_digest):
        raise DataError(
            f"the gate's verdict is for the model {verdict['candidate'][:12]}, the candidate is {candidate.digest[:12]}",
            hint="`orchard gate` checks this candidate",
        )
    if verdict["verdict"] not in {"accepted", "refused", "overridden"}:
        raise IntegrityError(f"{workspace.gate} has the unknown verdict {verdict['verdict']!r}")
    if verdict["verdict"] == "refused":
        raise GateRefused(
            f"the gate refused the candidate: {verdict['reason']}",
            hint=f"{workspace.gate / PAGE} has the reasons; `orchard gate --override-reason TEXT` accepts it anyway",
        )
    _check_comparison(verdict, candidate, channel)
    return _Reports(evaluation, verdict, GateRecord(verdict["verdict"], verdict["reason"], sha256))


def _check_comparison(verdict: Mapping[str, Any], candidate: Candidate, channel: Channel) -> None:
    """Check that the gate compared with the version that the channel points to now."""
    pointer = channel.read()
    compared = (verdict.get("comparison") or {}).get("version")
    if pointer is None or pointer.version == compared:
        return
    served = channel.registry.manifest(pointer.version, pointer.manifest_sha256)
    if files_digest(served.files) == candidate.digest:  # published already: publishing it again changes nothing
        return
    before = f"version {compared}" if compared else "no version"
    raise DataError(
        f"the gate compared the candidate with {before}, but {channel.name} points to version {pointer.version}",
        hint="`orchard gate` compares it with that one",
    )


def _metadata(
    candidate: Candidate,
    reports: _Reports,
    registry: Registry,
    actor: str,
    run_id: str | None,
) -> PublishMetadata:
    dataset = Dataset(registry.store, candidate.dataset_name).find(candidate.dataset_digest)
    with open_model(candidate.model) as session:
        check_golden_photos(session, candidate.model)
        if session.classes != candidate.classes:
            raise IntegrityError(f"{candidate.model} has other classes than training.json")
        return PublishMetadata(
            signatures=session.signatures,
            ops=session.ops,
            classes=session.classes,
            dataset=DatasetRef(candidate.dataset_name, dataset.version if dataset else None, candidate.dataset_digest),
            params_digest=candidate.params_digest,
            code=describe_code(),
            metrics={name: float(value) for name, value in collect_metrics(reports.evaluation).items()},
            gate=reports.gate,
            created_by=actor,
            run_id=run_id,
        )


def _recorded(store: ObjectStore, run_id: str | None, identity: str) -> CandidatePublishResult | None:
    """The record of an earlier attempt of this step of the run, None if there is none."""
    if run_id is None:
        return None
    record = records.recorded(store, run_id, VERB)
    if record is None:
        return None
    if record.get("publish_id") != identity:
        raise ConflictError(
            f"`{VERB}` in the run {run_id} has already published something else: version {record.get('version')}",
            hint="a run id belongs to one run: set another ORCHARD_RUN_ID for this one",
        )
    return CandidatePublishResult(record, created=False)


def _document(registry: Registry, published: PublishResult, metadata: PublishMetadata) -> dict[str, Any]:
    return {
        "model": registry.model,
        "version": published.version,
        "publish_id": published.publish_id,
        "store": registry.store.name,
        "manifest": layout.manifest(registry.model, published.version),
        "card": layout.card(registry.model, published.version),
        "dataset": documents.encode(metadata.dataset),
        "gate": documents.encode(metadata.gate),
        "code": metadata.code,
    }


def _publish_card(
    workspace: Workspace, registry: Registry, candidate: Candidate, reports: _Reports, version: int
) -> None:
    """Store the version's model card, unless it has one; the workspace gets the one that it has."""
    if _restore_card(workspace, registry, version):
        return
    published = _published(registry, candidate, version)
    manifest, pictures = registry.manifest(version), read_pictures(workspace.evaluation)
    pointers = ", ".join(f"{one.channel}: version {one.version}" for one in read_pointers(registry))
    data = f"{manifest.dataset.name} {manifest.dataset.version or 'not in the store'} ({manifest.dataset.digest[:12]})"
    made = pages.made_now(data, pointers and f"{pointers}, when it was published")
    card = make_card(candidate, reports.evaluation, reports.verdict, pictures, manifest, published, made)
    write_card(workspace.card, keep_card(registry.store, registry.model, version, card))


def _publish_report(registry: Registry, candidate: Candidate, reports: _Reports, version: int) -> None:
    """Store the version's report, unless it has one."""
    manifest = registry.manifest(version)
    if read_report(registry, manifest) is None:
        report = make_report(candidate, reports.evaluation, reports.verdict, reports.gate.sha256, manifest)
        keep_report(registry, report)


def _restore_card(workspace: Workspace, registry: Registry, version: int) -> bool:
    card = read_card(registry.store, registry.model, version)
    if card is not None:
        write_card(workspace.card, card)
    return card is not None


def _published(registry: Registry, candidate: Candidate, version: int) -> dict[int, str]:
    """The other versions whose dataset, and so whose test photos, are the candidate's, with their models' digests."""

    def read(number: int) -> Manifest | None:
        with suppress(IntegrityError):  # one that is not trusted tells nothing
            return registry.manifest(number)
        return None

    numbers = [number for number in registry.versions()[-ASKED:] if number != version]
    with ThreadPoolExecutor(THREADS) as pool:
        manifests = [manifest for manifest in pool.map(read, numbers) if manifest]
    return {
        manifest.version: files_digest(manifest.files)
        for manifest in manifests
        if manifest.dataset.digest == candidate.dataset_digest
    }


def publish(
    workspace: Workspace, registry: Registry, channel: str, actor: str, run_id: str | None = None
) -> CandidatePublishResult:
    """Publish the candidate of a workspace as the model's next version.

    A killed call can be repeated and continues; the same content is the same version. The version's report and its model
    card are stored after its commit, and once. With a run id, the result is
    recorded under ``runs/<run_id>/publish.json``, and a retry of the run returns it.

    Args:
        workspace: has candidate, evaluation and verdict; gets the version's card.
        registry: where to publish; opened to sign.
        channel: the channel that the gate compared with.
        actor: the publisher.
        run_id: None outside a run.

    Raises:
        GateRefused: the gate refused the candidate.
        DataError: candidate, evaluation and verdict do not belong together, one is missing, or the gate compared with
            another version than the channel points to now; nothing was written.
        IntegrityError: the model cannot be loaded or predicts its golden photos differently; nothing was written.
        ConflictError: the run has already published something else.
        StoreError: the store failed.
    """
    candidate = read_candidate(workspace.candidate)
    identity = publish_id(registry.model, candidate.files, candidate.dataset_digest, candidate.params_digest)
    earlier = _recorded(registry.store, run_id, identity)
    if earlier is not None:
        _restore_card(workspace, registry, int(earlier.record["version"]))
        return earlier
    reports = _check_gate(workspace, candidate, registry.channel(channel))
    metadata = _metadata(candidate, reports, registry, actor, run_id)
    published = registry.publish(candidate.model, metadata)
    _publish_report(registry, candidate, reports, published.version)
    _publish_card(workspace, registry, candidate, reports, published.version)
    document = _document(registry, published, metadata)
    if run_id is not None:
        document = records.record(registry.store, run_id, VERB, document)
    return CandidatePublishResult(document, published.created)
