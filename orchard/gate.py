"""The gate: whether a candidate may be published, said in sentences.

Pure: it reads two evaluations and the bars, and decides. It refuses by default; a figure that is missing, no number or
contradicts its own counts is a failed check, never a passed one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator

from orchard.documents import FORMAT, encode
from orchard.errors import DataError
from orchard.formatting import percent

__all__ = ["GateCheck", "GateThresholds", "GateVerdict", "decide", "summary"]

SAME = 1e-6
"""How far an accuracy may be from its own counts."""

SHOWN = 3
"""Failed checks that a reason spells out; the page shows all."""

ROUNDING = 1e-9
"""What binary fractions may do to a comparison: 0.95 - 0.94 is a little more than 0.01."""


def _fraction(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Check a fraction. It stays a whole number if it is written as one: the digest of the params depends on it."""
    if not 0 <= validate(value) <= 1:
        raise ValueError("expected a fraction from 0 to 1, not per cent")
    return value


Fraction = Annotated[float, WrapValidator(_fraction), PlainSerializer(lambda value: value, return_type=Any)]
Photos = Annotated[int, Field(ge=1)]


class GateThresholds(BaseModel):
    """What a candidate must reach: the section `gate` of params.yaml. What is left out is not checked.

    Accuracies and drops are fractions, 0 to 1, by slice (`turntable`, `shop`, `all`).

    Attributes:
        accuracy: the least accuracy.
        worst_class: the least accuracy of every class that has photos.
        photos: the least number of photos, so that a figure means something.
        drop: the largest loss of accuracy against the version that the channel means.
        class_drop: the largest loss of accuracy of one class against it.
        class_drop_photos: a class has dropped only if at least so many more of its photos are wrong: with few photos,
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
    """One thing that was looked at.

    Attributes:
        name: for programs, as ``shop.worst_class.Nectarine``.
        value: the figure; None if it is missing, or if there was nothing to judge.
        bar: what it is held against.
        passed: None if it was shown and not judged (a class without photos).
        sentence: for people.
    """

    name: str
    value: float | None
    bar: float | None
    passed: bool | None
    sentence: str


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What the gate says: the verdict, every check, the reason, and what was compared with what."""

    verdict: Literal["accepted", "refused", "overridden"]
    reason: str
    checks: tuple[GateCheck, ...]
    dataset: Mapping[str, Any]
    candidate: str
    incumbent: str | None

    @property
    def failed(self) -> tuple[GateCheck, ...]:
        """The checks that were not passed."""
        return tuple(check for check in self.checks if check.passed is False)

    def document(self) -> dict[str, Any]:
        """The content of ``artifacts/gate/verdict.json``."""
        return {"format": FORMAT, **encode(self)}


@dataclass(frozen=True, slots=True)
class _CorrectCount:
    """Photos and right answers of a slice or of one class in it."""

    n: int
    correct: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.n


def _bar(value: float) -> str:
    return f"{100 * value:.4g} %"


def _count(found: object) -> _CorrectCount | None:
    """Counts as an evaluation gives them, or None if they are missing or no counts."""
    if not isinstance(found, Mapping):
        return None
    n, correct = found.get("n"), found.get("correct")
    if type(n) is not int or type(correct) is not int or not 0 <= correct <= n:
        return None
    return _CorrectCount(n, correct)


def _slices(evaluation: Mapping[str, Any]) -> Mapping[str, Any]:
    found = evaluation.get("slices")
    return found if isinstance(found, Mapping) else {}


def _slice(evaluation: Mapping[str, Any], name: str) -> _CorrectCount | None:
    """A slice's counts, or None if they are missing or contradict the accuracy or the classes beside them."""
    found = _slices(evaluation).get(name)
    count = _count(found)
    if found is None or count is None or count.n == 0:
        return None
    accuracy = found.get("accuracy")
    if type(accuracy) not in {int, float} or not math.isfinite(accuracy) or abs(accuracy - count.accuracy) > SAME:
        return None
    classes = _classes(evaluation, name)
    if not classes or None in classes.values():
        return None
    both = [(item.n, item.correct) for item in classes.values() if item]
    return count if (sum(n for n, _ in both), sum(c for _, c in both)) == (count.n, count.correct) else None


def _classes(evaluation: Mapping[str, Any], name: str) -> dict[str, _CorrectCount | None]:
    part = _slices(evaluation).get(name)
    found = part.get("classes") if isinstance(part, Mapping) else None
    return {label: _count(item) for label, item in sorted(found.items())} if isinstance(found, Mapping) else {}


def _missing(name: str, what: str, bar: float) -> GateCheck:
    return GateCheck(name, None, bar, False, f"{what}: there is no figure that can be believed, so the check fails")


def _least(name: str, what: str, count: _CorrectCount, bar: float) -> GateCheck:
    passed = count.accuracy >= bar - ROUNDING
    sentence = f"{what}: {percent(count.accuracy, 1)} of {count.n} right, the bar is {_bar(bar)}"
    return GateCheck(name, count.accuracy, bar, passed, sentence)


def _absolute(candidate: Mapping[str, Any], bars: GateThresholds) -> Iterator[GateCheck]:
    for name, least in bars.photos.items():
        count = _slice(candidate, name)
        if count is None:
            yield _missing(f"{name}.photos", f"Photos of {name}", least)
        else:
            sentence = f"Photos of {name}: {count.n}, at least {least} are needed"
            yield GateCheck(f"{name}.photos", count.n, least, count.n >= least, sentence)
    for name, bar in bars.accuracy.items():
        count = _slice(candidate, name)
        key, what = f"{name}.accuracy", f"All classes, {name}"
        yield _missing(key, what, bar) if count is None else _least(key, what, count, bar)
    for name, bar in bars.worst_class.items():
        if _slice(candidate, name) is None:
            yield _missing(f"{name}.worst_class", f"Every class, {name}", bar)
            continue
        for label, item in _classes(candidate, name).items():
            key, what = f"{name}.worst_class.{label}", f"{label}, {name}"
            if item is None or item.n == 0:
                yield GateCheck(key, None, bar, None, f"{what}: no photos, so it is not judged")
            else:
                yield _least(key, what, item, bar)


def _against(name: str, what: str, now: _CorrectCount, then: _CorrectCount, bar: float, least_photos: int) -> GateCheck:
    drop, lost = then.accuracy - now.accuracy, then.correct - now.correct
    passed = drop <= bar + ROUNDING or lost < least_photos
    sentence = (
        f"{what}: {now.correct} of {now.n} right ({percent(now.accuracy, 1)}), the served version {then.correct} "
        f"({percent(then.accuracy, 1)}); at most {_bar(bar)} may be lost"
    )
    if passed and drop > bar + ROUNDING:
        sentence += f", and fewer than {least_photos} photos are no drop"
    return GateCheck(name, drop, bar, passed, sentence)


def _relative(candidate: Mapping[str, Any], incumbent: Mapping[str, Any], bars: GateThresholds) -> Iterator[GateCheck]:
    for name, bar in bars.drop.items():
        key, what = f"{name}.drop", f"All classes, {name}"
        now, then = _slice(candidate, name), _slice(incumbent, name)
        if now is None or then is None or now.n != then.n:
            yield _missing(key, f"{what}, against the served version", bar)
        else:
            yield _against(key, what, now, then, bar, 1)
    for name, bar in bars.class_drop.items():
        after, before = _classes(candidate, name), _classes(incumbent, name)
        if _slice(candidate, name) is None or _slice(incumbent, name) is None:
            yield _missing(f"{name}.class_drop", f"Every class, {name}, against the served version", bar)
            continue
        for label in sorted({*after, *before}):
            key, what = f"{name}.class_drop.{label}", f"{label}, {name}"
            now, then = after.get(label), before.get(label)
            if then is None or then.n == 0:
                yield GateCheck(key, None, bar, None, f"{what}: the served version was not asked, so there is no drop")
            elif now is None or now.n != then.n:
                yield _missing(key, f"{what}, against the served version", bar)
            else:
                yield _against(key, what, now, then, bar, bars.class_drop_photos)


def _identity(evaluation: Mapping[str, Any], who: str) -> tuple[Mapping[str, Any], str]:
    dataset, model = evaluation.get("dataset"), evaluation.get("model")
    if evaluation.get("format") != FORMAT:
        raise DataError(f"the evaluation of the {who} has format {evaluation.get('format')!r}; expected {FORMAT}")
    if not isinstance(dataset, Mapping) or not isinstance(dataset.get("digest"), str) or not dataset["digest"]:
        raise DataError(f"the evaluation of the {who} does not say on which dataset it was made")
    if not isinstance(model, Mapping) or not isinstance(model.get("sha256"), str) or not model["sha256"]:
        raise DataError(f"the evaluation of the {who} does not say which model it is of")
    return dataset, model["sha256"]


def _comparable(dataset: Mapping[str, Any], incumbent: Mapping[str, Any]) -> str:
    """Which model the served version is, if its evaluation is of the same data."""
    other, served = _identity(incumbent, "served version")
    if other["digest"] != dataset["digest"]:
        raise DataError(
            f"the evaluations are of different data: the candidate's dataset is {dataset['digest'][:12]}, "
            f"the served version's {other['digest'][:12]}; no figure of one says anything about the other",
            hint="evaluate both on the same dataset version",
        )
    return served


def decide(
    candidate: Mapping[str, Any],
    incumbent: Mapping[str, Any] | None,
    bars: GateThresholds,
    *,
    override_reason: str | None = None,
    also: Iterable[GateCheck] = (),
) -> GateVerdict:
    """Decide whether a candidate may be published.

    Args:
        candidate: its evaluation, the document ``evaluation.json``.
        incumbent: the evaluation, on the same data, of the version that the channel means; None if there is none, and
            then the bars on drops do not apply.
        bars: what must be reached.
        override_reason: accept a refused candidate for this written reason.
        also: checks that were made elsewhere and count like the others.

    Raises:
        DataError: different datasets, none named, no bar set, or an override without a reason.
    """
    dataset, model = _identity(candidate, "candidate")
    served = None if incumbent is None else _comparable(dataset, incumbent)
    if override_reason is not None and not override_reason.strip():
        raise DataError("an override needs a written reason; it is kept for ever")
    drops = () if incumbent is None else _relative(candidate, incumbent, bars)
    own = (*_absolute(candidate, bars), *drops)
    if all(check.passed is None for check in own):
        raise DataError("no bar is set, so nothing would ever be refused", hint="params.yaml, section gate")
    checks = (*own, *also)
    judged = [check for check in checks if check.passed is not None]
    failed = [check for check in judged if not check.passed]
    if not failed:
        return GateVerdict("accepted", f"all {len(judged)} checks passed", checks, dataset, model, served)
    if override_reason is not None:
        return GateVerdict("overridden", override_reason.strip(), checks, dataset, model, served)
    return GateVerdict("refused", _why_refused(failed, len(judged)), checks, dataset, model, served)


def _why_refused(failed: list[GateCheck], judged: int) -> str:
    more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
    return f"{len(failed)} of {judged} checks failed: " + "; ".join(check.sentence for check in failed[:SHOWN]) + more


def summary(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that a manifest keeps: photos, accuracy and the worst class's accuracy, by slice.

    A slice without photos or with figures that contradict each other is left out.
    """
    found: dict[str, float] = {}
    for name in sorted(_slices(evaluation)):
        count = _slice(evaluation, name)
        if count is None:
            continue
        worst = min(item.accuracy for item in _classes(evaluation, name).values() if item and item.n)
        found |= {f"{name}.n": count.n, f"{name}.accuracy": count.accuracy, f"{name}.worst": worst}
    return found
