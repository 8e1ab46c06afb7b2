"""A judged candidate becomes a version: everything is checked once more, then the registry commits it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchard import __version__, dataset, documents, layout, pointers, registry, runs
from orchard.errors import ConflictError, DataError, GateRefused, IntegrityError, SettingsError
from orchard.golden import check_golden
from orchard.manifest import DatasetRef, Facts, GateRecord, publish_id
from orchard.settings import Settings
from orchard.signing import SigningKey, load_key, load_trusted
from orchard.store import ObjectStore, open_store
from training.candidate import Candidate, files_digest, read_candidate
from training.evaluation.recorded import record
from training.evaluation.report import read_evaluation
from training.gating import PAGE, check_belongs, read_verdict
from training.incumbent import Channel
from training.sessions import ModelSession, open_model
from training.workspace import Workspace

__all__ = ["Outcome", "Target", "ask_golden", "describe_code", "open_target", "publish"]

VERB = "publish"
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Target:
    """Where to publish, as what, and in whose name.

    Attributes:
        channel: the model in its store, and the channel that the gate compared with.
        key: signs the manifest.
        actor: who publishes.
        run_id: the run that this belongs to, None outside a run.
    """

    channel: Channel
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
class Outcome:
    """What came of it.

    Attributes:
        said: ``model``, ``version``, ``publish_id``, ``store``, ``manifest`` (its key), ``dataset``, ``gate``, ``code``;
            what the run keeps.
        created: whether this call made the version; otherwise the same content was there already.
    """

    said: Mapping[str, Any]
    created: bool


def open_target(settings: Settings) -> Target:
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
    channel = Channel(open_store(settings), settings.model, settings.channel, trusted)
    return Target(channel, key, runs.actor(settings), settings.run_id)


def ask_golden(session: ModelSession, model: Path) -> int:
    """Ask a loaded model about its golden photos and hold the answers against those that it was exported with.

    Args:
        session: the model, loaded.
        model: its folder.

    Returns:
        How many photos there are.

    Raises:
        IntegrityError: there are none, or an answer is another than it was.
    """

    def predict(photos: Sequence[bytes]) -> Iterable[tuple[str, float]]:
        answers = session.ask(photos)
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


def _judged(workspace: Workspace, candidate: Candidate, target: Target) -> tuple[dict[str, Any], GateRecord]:
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


def _check_comparison(verdict: Mapping[str, Any], candidate: Candidate, target: Target) -> None:
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


def _facts(candidate: Candidate, evaluation: Mapping[str, Any], gate: GateRecord, target: Target) -> Facts:
    found = dataset.find(target.store, candidate.dataset_name, candidate.dataset_digest)
    with open_model(candidate.model) as session:
        ask_golden(session, candidate.model)
        if session.classes != candidate.classes:
            raise IntegrityError(f"{candidate.model} names other classes than training did")
        return Facts(
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


def _said_before(target: Target, identity: str) -> Outcome | None:
    """What this very step of this very run said before it was killed or its reply was lost."""
    if target.run_id is None:
        return None
    said = runs.recorded(target.store, target.run_id, VERB)
    if said is None:
        return None
    if said.get("publish_id") != identity:
        raise ConflictError(
            f"`{VERB}` in the run {target.run_id} has published something else before: version {said.get('version')}",
            hint="a run id belongs to one run: give this one another ORCHARD_RUN_ID",
        )
    return Outcome(said, created=False)


def _say(target: Target, done: registry.Published, facts: Facts) -> dict[str, Any]:
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


def publish(workspace: Workspace, target: Target) -> Outcome:
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
        said = runs.record(target.store, target.run_id, VERB, said)
    return Outcome(said, done.created)
