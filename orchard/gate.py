"""The gate: decide whether a candidate may be published, with the reasons as sentences.

Without I/O: the inputs are two evaluations and the thresholds. The gate refuses by default: a figure that is missing, is
not a number or contradicts its own counts is a failed check.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator

from orchard.documents import FORMAT, encode
from orchard.errors import DataError
from orchard.formatting import accuracy_text, percent, points_interval, shorten, threshold_text
from orchard.intervals import difference_interval, judge_change, share_interval

__all__ = ["GateCheck", "GateThresholds", "GateVerdict", "decide", "find_warnings", "summary"]

COUNT_TOLERANCE = 1e-6
"""The largest difference between an accuracy and its counts."""

_ALL = "all"

MAX_REASONS = 3
"""How many failed checks the reason names; the page shows all."""

ROUNDING = 1e-9
"""The tolerance of a comparison, for binary fractions: 0.95 - 0.94 is a little more than 0.01."""


def _fraction(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Check a fraction. A value that is written as an integer stays one: the digest of the params depends on it."""
    if not 0 <= validate(value) <= 1:
        raise ValueError("expected a fraction from 0 to 1, not per cent")
    return value


Fraction = Annotated[float, WrapValidator(_fraction), PlainSerializer(lambda value: value, return_type=Any)]
Photos = Annotated[int, Field(ge=1)]


class GateThresholds(BaseModel):
    """The thresholds for a candidate: the section `gate` of params.yaml. What is left out is not checked.

    Accuracies and drops are fractions, 0 to 1, by slice (`turntable`, `shop`, `all`).

    Attributes:
        accuracy: the lowest accuracy.
        worst_class: the lowest accuracy of every class that has photos.
        photos: the lowest number of photos for which a figure is meaningful.
        drop: the largest loss of accuracy compared with the version that the channel points to.
        class_drop: the largest loss of accuracy of one class compared with it.
        class_drop_photos: a class has dropped only if at least this many more of its photos are wrong: with few photos,
            one of them is many per cent.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    accuracy: dict[str, Fraction] = {}
    worst_class: dict[str, Fraction] = {}
    photos: dict[str, Photos] = {}
    drop: dict[str, Fraction] = {}
    class_drop: dict[str, Fraction] = {}
    class_drop_photos: Photos = 2


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One check of the gate.

    Attributes:
        name: for programs, for example ``shop.worst_class.Nectarine``.
        value: the figure; None: it is missing, or there is nothing to check.
        bar: the threshold.
        passed: None: shown and not checked (a class without photos).
        sentence: for people.
    """

    name: str
    value: float | None
    bar: float | None
    passed: bool | None
    sentence: str


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The gate's decision: the verdict, the reason, every check, and the dataset and the models that were compared.

    `warnings` are what a person must know although no threshold forbids it.
    """

    verdict: Literal["accepted", "refused", "overridden"]
    reason: str
    checks: tuple[GateCheck, ...]
    dataset: Mapping[str, Any]
    candidate: str
    incumbent: str | None
    warnings: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[GateCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.passed is False)

    def document(self) -> dict[str, Any]:
        """The content of ``artifacts/gate/verdict.json``."""
        return {"format": FORMAT, **encode(self)}


@dataclass(frozen=True, slots=True)
class _CorrectCount:
    """Photos and correct predictions of a slice or of one class in it."""

    n: int
    correct: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.n


def _count(item: object) -> _CorrectCount | None:
    """The counts of a slice or a class, or None if they are missing or invalid."""
    if not isinstance(item, Mapping):
        return None
    n, correct = item.get("n"), item.get("correct")
    if type(n) is not int or type(correct) is not int or not 0 <= correct <= n:
        return None
    return _CorrectCount(n, correct)


def _slices(evaluation: Mapping[str, Any]) -> Mapping[str, Any]:
    slices = evaluation.get("slices")
    return slices if isinstance(slices, Mapping) else {}


def _slice(evaluation: Mapping[str, Any], name: str) -> _CorrectCount | None:
    """A slice's counts, or None if they are missing or contradict its accuracy or its classes."""
    item = _slices(evaluation).get(name)
    count = _count(item)
    if item is None or count is None or count.n == 0:
        return None
    accuracy = item.get("accuracy")
    if type(accuracy) not in {int, float} or not math.isfinite(accuracy):
        return None
    classes = _classes(evaluation, name)
    if abs(accuracy - count.accuracy) > COUNT_TOLERANCE or not classes or None in classes.values():
        return None
    sums = [sum(values) for values in zip(*((part.n, part.correct) for part in classes.values() if part), strict=True)]
    return count if sums == [count.n, count.correct] else None


def _classes(evaluation: Mapping[str, Any], name: str) -> dict[str, _CorrectCount | None]:
    part = _slices(evaluation).get(name)
    classes = part.get("classes") if isinstance(part, Mapping) else None
    return {label: _count(item) for label, item in sorted(classes.items())} if isinstance(classes, Mapping) else {}


def _missing(name: str, what: str, threshold: float) -> GateCheck:
    return GateCheck(name, None, threshold, False, f"{what}: there is no valid figure, so the check fails")


def _check_accuracy(name: str, what: str, count: _CorrectCount, threshold: float) -> GateCheck:
    passed = count.accuracy >= threshold - ROUNDING
    sentence = (
        f"{what}: {accuracy_text(count.correct, count.n)} of {count.n} right, the threshold is "
        f"{threshold_text(threshold)}"
    )
    low, high = share_interval(count.correct, count.n)
    if low < threshold < high:
        sentence += ", inside the 95 % interval: more photos would make it sure"
    return GateCheck(name, count.accuracy, threshold, passed, sentence)


def _absolute(candidate: Mapping[str, Any], thresholds: GateThresholds) -> Iterator[GateCheck]:
    for name, least in thresholds.photos.items():
        count = _slice(candidate, name)
        if count is None:
            yield _missing(f"{name}.photos", f"Photos of {name}", least)
        else:
            sentence = f"Photos of {name}: {count.n}, at least {least} are needed"
            yield GateCheck(f"{name}.photos", count.n, least, count.n >= least, sentence)
    for name, threshold in thresholds.accuracy.items():
        count = _slice(candidate, name)
        key, what = f"{name}.accuracy", f"All classes, {name}"
        yield _missing(key, what, threshold) if count is None else _check_accuracy(key, what, count, threshold)
    for name, threshold in thresholds.worst_class.items():
        if _slice(candidate, name) is None:
            yield _missing(f"{name}.worst_class", f"Every class, {name}", threshold)
            continue
        for label, item in _classes(candidate, name).items():
            key, what = f"{name}.worst_class.{label}", f"{label}, {name}"
            if item is None or item.n == 0:
                yield GateCheck(key, None, threshold, None, f"{what}: no photos, so it is not checked")
            else:
                yield _check_accuracy(key, what, item, threshold)


def _check_drop(
    name: str, what: str, candidate: _CorrectCount, served: _CorrectCount, threshold: float, least_photos: int
) -> GateCheck:
    drop, lost = served.accuracy - candidate.accuracy, served.correct - candidate.correct
    passed = drop <= threshold + ROUNDING or lost < least_photos
    sentence = (
        f"{what}: {candidate.correct} of {candidate.n} right ({percent(candidate.accuracy)}), the served version "
        f"{served.correct} ({percent(served.accuracy)}); at most {threshold_text(threshold)} may be lost"
    )
    if passed and drop > threshold + ROUNDING:
        sentence += f", and fewer than {least_photos} photos are not a drop"
    loss = difference_interval((served.correct, served.n), (candidate.correct, candidate.n))
    if lost > 0 and judge_change(loss) == "within noise":
        sentence += f"; the loss may be noise (95 %: {points_interval(loss)} points)"
    return GateCheck(name, drop, threshold, passed, sentence)


def _relative(
    candidate: Mapping[str, Any], incumbent: Mapping[str, Any], thresholds: GateThresholds
) -> Iterator[GateCheck]:
    for name, threshold in thresholds.drop.items():
        key, what = f"{name}.drop", f"All classes, {name}"
        new, served = _slice(candidate, name), _slice(incumbent, name)
        if new is None or served is None or new.n != served.n:
            yield _missing(key, f"{what}, against the served version", threshold)
        else:
            yield _check_drop(key, what, new, served, threshold, 1)
    for name, threshold in thresholds.class_drop.items():
        after, before = _classes(candidate, name), _classes(incumbent, name)
        if _slice(candidate, name) is None or _slice(incumbent, name) is None:
            yield _missing(f"{name}.class_drop", f"Every class, {name}, against the served version", threshold)
            continue
        for label in sorted({*after, *before}):
            key, what = f"{name}.class_drop.{label}", f"{label}, {name}"
            new, served = after.get(label), before.get(label)
            if served is None or served.n == 0:
                sentence = f"{what}: the served version has no photos of it, so it is not checked"
                yield GateCheck(key, None, threshold, None, sentence)
            elif new is None or new.n != served.n:
                yield _missing(key, f"{what}, against the served version", threshold)
            else:
                yield _check_drop(key, what, new, served, threshold, thresholds.class_drop_photos)


def _identity(evaluation: Mapping[str, Any], who: str) -> tuple[Mapping[str, Any], str]:
    """The dataset and the model's SHA-256 that an evaluation names. Raises `DataError`."""
    dataset, model = evaluation.get("dataset"), evaluation.get("model")
    if evaluation.get("format") != FORMAT:
        raise DataError(f"the evaluation of the {who} has format {evaluation.get('format')!r}; expected {FORMAT}")
    if not isinstance(dataset, Mapping) or not isinstance(dataset.get("digest"), str) or not dataset["digest"]:
        raise DataError(f"the evaluation of the {who} does not name its dataset")
    if not isinstance(model, Mapping) or not isinstance(model.get("sha256"), str) or not model["sha256"]:
        raise DataError(f"the evaluation of the {who} does not name its model")
    return dataset, model["sha256"]


def _comparable(dataset: Mapping[str, Any], incumbent: Mapping[str, Any]) -> str:
    """The served version's model, if its evaluation is of the same data. Raises `DataError`."""
    other, served = _identity(incumbent, "served version")
    if other["digest"] != dataset["digest"]:
        raise DataError(
            f"the evaluations are of different data: the candidate's dataset is {dataset['digest'][:12]}, "
            f"the served version's {other['digest'][:12]}; their figures cannot be compared",
            hint="evaluate both on the same dataset version",
        )
    return served


def decide(
    candidate: Mapping[str, Any],
    incumbent: Mapping[str, Any] | None,
    thresholds: GateThresholds,
    *,
    override_reason: str | None = None,
    also: Iterable[GateCheck] = (),
) -> GateVerdict:
    """Decide whether a candidate may be published.

    Args:
        candidate: its evaluation, the document ``evaluation.json``.
        incumbent: the evaluation, on the same data, of the version that the channel points to; None: there is none, and
            the thresholds on drops do not apply.
        thresholds: the thresholds.
        override_reason: accept a refused candidate for this written reason.
        also: results of further checks, which count like the others.

    Raises:
        DataError: different or unnamed datasets, no threshold set, or an override without a reason.
    """
    dataset, model = _identity(candidate, "candidate")
    served = None if incumbent is None else _comparable(dataset, incumbent)
    if override_reason is not None and not override_reason.strip():
        raise DataError("an override needs a written reason; it is kept permanently")
    drops = () if incumbent is None else _relative(candidate, incumbent, thresholds)
    own = (*_absolute(candidate, thresholds), *drops)
    if all(check.passed is None for check in own):
        raise DataError("no threshold is set, so nothing would ever be refused", hint="params.yaml, section gate")
    checks = (*own, *also)
    counted = [check for check in checks if check.passed is not None]
    failed = [check for check in counted if not check.passed]
    facts = (checks, dataset, model, served, tuple(find_warnings(candidate)))
    if not failed:
        reason = f"all {len(counted)} checks passed" + (
            f", with warnings: {shorten(facts[-1], MAX_REASONS)}" if facts[-1] else ""
        )
        return GateVerdict("accepted", reason, *facts)
    if override_reason is not None:
        return GateVerdict("overridden", override_reason.strip(), *facts)
    return GateVerdict("refused", _refusal(failed, len(counted)), *facts)


def find_warnings(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each class of a source of which not one photo is right. No threshold has to be set for it."""
    for name in sorted(_slices(evaluation)):
        for label, item in _classes(evaluation, name).items():
            if name != _ALL and item and item.n and not item.correct:
                yield f"{label}, {name}: not one of {item.n} photos is right"


def _refusal(failed: list[GateCheck], count: int) -> str:
    sentences = "; ".join(check.sentence for check in failed[:MAX_REASONS])
    more = f"; and {len(failed) - MAX_REASONS} more" if len(failed) > MAX_REASONS else ""
    return f"{len(failed)} of {count} checks failed: {sentences}{more}"


def summary(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that a manifest records: photos, accuracy and the worst class's accuracy, by slice.

    A slice without photos or with figures that contradict each other is left out.
    """
    figures: dict[str, float] = {}
    for name in sorted(_slices(evaluation)):
        count = _slice(evaluation, name)
        if count is None:
            continue
        worst = min(item.accuracy for item in _classes(evaluation, name).values() if item and item.n)
        figures |= {f"{name}.n": count.n, f"{name}.accuracy": count.accuracy, f"{name}.worst": worst}
    return figures
