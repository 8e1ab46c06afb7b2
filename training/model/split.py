"""The validation split of the training photos: whole arcs of a turntable's rotation, not random photos.

Neighbouring frames of a turntable are near-copies, so a random split would validate on photos that training has seen.
A hash of the content chooses photos that are not from a turntable: the same photo is always on the same side, whatever
other photos there are. Photos that a label file has in one group are on one side.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from training.data.turntable import read_turn
from training.data.whole_groups import choose_groups

__all__ = ["choose_validation"]

MISSING = 3
"""A larger step from frame to frame is a gap in the rotation."""


def choose_validation(
    paths: Sequence[str],
    groups: Sequence[tuple[str, ...]],
    digests: Sequence[str],
    *,
    share: float,
    seed: int,
    given: Sequence[str] = (),
) -> npt.NDArray[np.bool_]:
    """Choose the validation set.

    Args:
        paths: the photos' file names.
        groups: the stratum of each photo, such as its label and source; each is represented on both sides.
        digests: for each photo, the SHA-256 of its bytes (hex).
        share: the share of each stratum that is chosen, approximately; between 0 and 1.
        seed: decides where the arcs begin, and which hashes are chosen.
        given: the group that a label file gave each photo, all of which is chosen or not; empty, of one photo or of all:
            none. Frames of a turntable keep their arcs.

    Returns:
        bool[N], true for validation. No stratum is chosen completely, so training has photos of every class.
    """
    turntables: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    loose: dict[tuple[str, ...], list[int]] = defaultdict(list)
    whole: dict[str, list[int]] = defaultdict(list)
    for position, (path, group) in enumerate(zip(paths, groups, strict=True)):
        turn = read_turn(path)
        if turn is None and given and given[position]:
            whole[given[position]].append(position)
        elif turn is None:
            loose[group].append(position)
        else:
            turntables[(*group, turn[0])].append((turn[1], position))
    chosen = np.zeros(len(paths), bool)
    for key, frames in turntables.items():
        chosen[_choose_arc(sorted(frames), share, _fraction(seed, *key))] = True
    for positions in loose.values():
        picked = [position for position in positions if _fraction(seed, digests[position]) < share]
        if len(picked) < len(positions):
            chosen[picked] = True
    ordered = sorted(whole, key=lambda name: _fraction(seed, "group", name))
    units = [Counter(groups[position] for position in whole[name]) for name in ordered]
    for unit in choose_groups(units, share):
        chosen[whole[ordered[unit]]] = True
    return chosen


def _choose_arc(frames: list[tuple[int, int]], share: float, where: float) -> list[int]:
    """The positions of consecutive frames from the longest run, at almost the same distance from both of its ends.

    Where a run ends, a piece of the rotation is missing (the test photos are such pieces). An arc next to it would make
    that piece longer, and training would see it from one side only.

    Args:
        frames: (frame, position), sorted.
        share: of the frames, to choose.
        where: 0 to 1, the place in the middle third of the free room.
    """
    length = min(round(len(frames) * share), len(frames) - 1)
    run = max(_runs(frames), key=len)
    if len(run) <= length:
        run = frames
    room = len(run) - length
    first = room // 3 + int(where * (room - 2 * (room // 3)))
    return [position for _, position in run[first : first + length]]


def _runs(frames: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Cut sorted frames where some are missing."""
    runs = [frames[:1]]
    for before, frame in pairwise(frames):
        if frame[0] - before[0] > MISSING:
            runs.append([])
        runs[-1].append(frame)
    return runs


def _fraction(seed: int, *parts: str) -> float:
    """A number in [0, 1) that depends only on its arguments."""
    body = "\0".join((str(seed), *parts)).encode()
    return int.from_bytes(hashlib.sha256(body).digest()[:8]) / 2**64
