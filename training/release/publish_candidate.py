"""A judged candidate becomes a version: everything is checked once more, then the registry commits it."""

from __future__ import annotations

import base64
import binascii
import math
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard import __version__, dataset, documents, layout
from orchard.errors import ConflictError, DataError, GateRefused, IntegrityError, SettingsError
from orchard.registry import pointers, registry
from orchard.registry.manifest import DatasetRef, GateRecord, PublishMetadata, publish_id
from orchard.runs import records
from orchard.settings import Settings
from orchard.signing import SigningKey, load_key, load_trusted
from orchard.store import ObjectStore, open_store
from training import golden
from training.evaluation.manifest_metrics import record
from training.evaluation.report import read_evaluation
from training.model.candidate import Candidate, files_digest, read_candidate
from training.model.savedmodel_session import SavedModelSession, open_model
from training.release.gate_candidate import PAGE, check_belongs, read_verdict
from training.release.served_model import ServedChannel
from training.workspace import Workspace

__all__ = ["CandidatePublishResult", "PublishTarget", "ask_golden", "describe_code", "open_target", "publish"]

VERB = "publish"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class PublishTarget:
    """Where to publish, as what, and in whose name.

    Attributes:
        channel: the model in its store, and the channel that the gate compared with.
        key: signs the manifest.
        actor: who publishes.
        run_id: the run that this belongs to, None outside a run.
    """

    channel: ServedChannel
    key: SigningKey
    actor: str
    run_id: str | None = None

    @property
    def store(self) -> ObjectStore:
        """The store."""
        return self.channel.store

    @property
    def model(self) -> str:
        """The model's name."""
        return self.channel.model


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


def open_target(settings: Settings) -> PublishTarget:
    """Everything that publishing needs of the settings.

    Raises:
        SettingsError: a setting is missing, a key file holds no such key, or readers that trust
            ORCHARD_TRUSTED_KEYS_FILE would not believe what ORCHARD_SIGNING_KEY_FILE signs.
    """
    settings.require("store_url", "signing_key_file")
    key = load_key(settings.signing_key_file)  # type: ignore[arg-type]  # required the line before
    trusted = load_trusted(settings.trusted_keys_file) if settings.trusted_keys_file else key.trusted
    if key.key_id not in trusted.keys:
        raise SettingsError(
            f"{settings.signing_key_file} signs as {key.key_id}, which {settings.trusted_keys_file} does not trust "
            f"({', '.join(sorted(trusted.keys))}): nobody would believe the version",
            hint="name the two halves of one pair, or add the public half to ORCHARD_TRUSTED_KEYS_FILE",
        )
    channel = ServedChannel(open_store(settings), settings.model, settings.channel, trusted)
    return PublishTarget(channel, key, records.actor(settings), settings.run_id)


def _golden(model: Path) -> tuple[list[dict[str, Any]], float]:
    path = model / golden.FILE
    try:
        document = documents.parse(path.read_bytes(), str(path))
        photos = [{**item, "image": base64.b64decode(item["b64"], validate=True)} for item in document["photos"]]
        tolerance = float(document["tolerance"])
        if document["format"] != documents.FORMAT or not photos or not 0 < tolerance < 1:
            raise ValueError("no photos, or no tolerance between 0 and 1")
        for item in photos:
            if not isinstance(item["label"], str) or not 0 <= float(item["probability"]) <= 1:
                raise ValueError("an answer without label and probability")
    except (OSError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise IntegrityError(
            f"{path} is not the list of golden photos that every export carries ({error})",
            hint="`orchard train` exports the model anew",
        ) from error
    return photos, tolerance


def ask_golden(session: SavedModelSession, model: Path) -> int:
    """Ask a loaded model about its golden photos and hold the answers against those that it was exported with.

    Args:
        session: the model, loaded.
        model: its folder.

    Returns:
        How many photos there are.

    Raises:
        IntegrityError: there are none, or an answer is another than it was.
    """
    photos, tolerance = _golden(model)
    answers = session.ask([item["image"] for item in photos])
    for number, (item, label, probability) in enumerate(
        zip(photos, answers.labels, answers.probability, strict=True), start=1
    ):
        off = math.fabs(float(probability) - float(item["probability"]))
        if label != item["label"] or off > tolerance:
            raise IntegrityError(
                f"{model} answers golden photo {number} with {label!r} at {probability:.6f}; "
                f"it was exported answering {item['label']!r} at {item['probability']:.6f}",
                hint="the files are not what was exported: `orchard train` exports the model anew",
            )
    return len(photos)


def describe_code() -> str:
    """Which code this is: the package's version, and in a checkout what git calls it."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return __version__
    command = [git, "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no word of it from outside
    return f"{__version__}+{said.stdout.strip()}" if said.returncode == 0 and said.stdout.strip() else __version__


def _judged(workspace: Workspace, candidate: Candidate, target: PublishTarget) -> tuple[dict[str, Any], GateRecord]:
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
    _check_comparison(verdict, candidate, target)
    return evaluation, GateRecord(verdict["verdict"], verdict["reason"], sha256)


def _check_comparison(verdict: Mapping[str, Any], candidate: Candidate, target: PublishTarget) -> None:
    """Make sure that the gate compared with what the channel means now: a verdict says nothing about a later one."""
    channel = target.channel
    pointer = pointers.read(channel.store, channel.model, channel.name, channel.trusted)
    compared = (verdict.get("comparison") or {}).get("version")
    if pointer is None or pointer.version == compared:
        return
    served = registry.read_manifest(
        channel.store, channel.model, pointer.version, channel.trusted, sha256=pointer.manifest_sha256
    )
    if files_digest(served.files) == candidate.digest:  # it is what was published from here; again changes nothing
        return
    before = f"version {compared}" if compared else "no version"
    raise DataError(
        f"the gate compared the candidate with {before}, but {channel.name} means version {pointer.version}",
        hint="`orchard gate` compares it with that one",
    )


def _facts(
    candidate: Candidate, evaluation: Mapping[str, Any], gate: GateRecord, target: PublishTarget
) -> PublishMetadata:
    found = dataset.find(target.store, candidate.dataset_name, candidate.dataset_digest)
    with open_model(candidate.model) as session:
        ask_golden(session, candidate.model)
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
            created_by=target.actor,
            run_id=target.run_id,
        )


def _said_before(target: PublishTarget, identity: str) -> CandidatePublishResult | None:
    """What this very step of this very run said before it was killed or its reply was lost."""
    if target.run_id is None:
        return None
    said = records.recorded(target.store, target.run_id, VERB)
    if said is None:
        return None
    if said.get("publish_id") != identity:
        raise ConflictError(
            f"`{VERB}` in the run {target.run_id} has published something else before: version {said.get('version')}",
            hint="a run id belongs to one run: give this one another ORCHARD_RUN_ID",
        )
    return CandidatePublishResult(said, created=False)


def _say(target: PublishTarget, done: registry.PublishResult, facts: PublishMetadata) -> dict[str, Any]:
    return {
        "model": target.model,
        "version": done.version,
        "publish_id": done.publish_id,
        "store": target.store.name,
        "manifest": layout.manifest(target.model, done.version),
        "dataset": documents.encode(facts.dataset),
        "gate": documents.encode(facts.gate),
        "code": facts.code,
    }


def publish(workspace: Workspace, target: PublishTarget) -> CandidatePublishResult:
    """Publish the candidate of a workspace as the model's next version.

    Killed anywhere and run again, it goes on from there; the same content again is the same version. With a run id, what
    it said is kept under ``runs/<run_id>/publish.json``, and a retry of the run finds it there.

    Args:
        workspace: where candidate, evaluation and verdict lie.
        target: where to publish.

    Raises:
        GateRefused: the gate refused the candidate.
        DataError: candidate, evaluation and verdict do not belong together, one is missing, or the gate compared with
            another version than the channel means now; nothing was written.
        IntegrityError: the model cannot be loaded or answers its golden photos differently; nothing was written.
        ConflictError: the run has published something else before.
        StoreError: the store did not do what was asked.
    """
    candidate = read_candidate(workspace.candidate)
    identity = publish_id(target.model, candidate.files, candidate.dataset_digest, candidate.params_digest)
    before = _said_before(target, identity)
    if before is not None:
        return before
    evaluation, gate = _judged(workspace, candidate, target)
    facts = _facts(candidate, evaluation, gate, target)
    done = registry.publish(
        target.store, target.model, candidate.model, facts, target.key, trusted=target.channel.trusted
    )
    said = _say(target, done, facts)
    if target.run_id is not None:
        said = records.record(target.store, target.run_id, VERB, said)
    return CandidatePublishResult(said, done.created)
