"""Chooses whole groups of photos, so that each class comes near to its share: for the test, or for validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

__all__ = ["choose_groups", "count_all", "fill_shares"]

Stratum = TypeVar("Stratum", bound=Hashable)


def count_all(groups: Iterable[Counter[Stratum]]) -> Counter[Stratum]:
    """Return the photos of all groups by class. The time does not grow with groups × classes, as that of `sum` does."""
    totals: Counter[Stratum] = Counter()
    for group in groups:
        totals.update(group)
    return totals


def choose_groups(groups: Sequence[Counter[Stratum]], share: float) -> set[int]:
    """Choose groups that have about a share of the photos of each class.

    Args:
        groups: the photos of each group by class, the groups in the order in which they are considered.
        share: of each class, between 0 and 1.

    Returns:
        Positions in `groups`. No class is chosen as a whole; one whose groups are all too large has none.
    """
    totals = count_all(groups)
    return fill_shares(
        groups, {label: round(share * number) for label, number in totals.items()}, (), range(len(groups))
    )


def fill_shares(
    groups: Sequence[Counter[Stratum]],
    wanted: Mapping[Stratum, int],
    chosen: Collection[int],
    free: Sequence[int],
) -> set[int]:
    """Choose groups in their order, as long as all classes together come nearer to what is wanted.

    Args:
        groups: the photos of each group by class.
        wanted: photos of each class.
        chosen: positions of the groups that are chosen already.
        free: positions of those that may be.

    Returns:
        `chosen` and the new ones. No class is chosen as a whole by new ones. Of a class that would have none, and of which
        some is wanted, the group that brings the classes nearest is chosen nevertheless.
    """
    totals = count_all(groups)
    found = set(chosen)
    have = count_all(groups[position] for position in found)

    def gain(position: int) -> int:
        """How much nearer the classes come, in photos."""
        new = groups[position].items()
        return sum(
            abs(wanted[label] - have[label]) - abs(wanted[label] - have[label] - number) for label, number in new
        )

    def is_allowed(position: int) -> bool:
        is_part = all(have[label] + number < totals[label] for label, number in groups[position].items())
        return is_part and position not in found

    def take(position: int) -> None:
        found.add(position)
        have.update(groups[position])

    for position in free:
        if is_allowed(position) and gain(position) > 0:
            take(position)
    for label in sorted(totals, key=repr):
        if wanted[label] and not have[label]:
            candidates = [position for position in free if groups[position][label] and is_allowed(position)]
            if candidates:
                take(max(candidates, key=gain))  # of equal ones the first
    return found
