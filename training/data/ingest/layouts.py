"""Where a photo lies that no folder gives a split and a class: the cause, in one sentence with what to do.

The sentence names folders and not the file. So all files with the same cause have the same sentence, and it is shown once.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["DETECTION_FOLDERS", "LAYOUT", "SPLIT_OF", "explain_misplaced"]

SPLIT_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "val", "valid", "validation", "eval", "evaluation"), "test"),
}
"""The names of a split's folder, in upper or lower case, and the split."""

DETECTION_FOLDERS = {"images", "labels"}
"""Folders between split and file where object detectors keep the photos of all classes and a text beside each."""

LAYOUT = "a source holds <split>/<class>/<photo>, with splits such as train and test"


def explain_misplaced(folders: Sequence[str]) -> str:
    """Say why a file has no split or no class, and what to do.

    Args:
        folders: the folders above it, the outermost first; the outermost is the source.
    """
    depth = next((at for at, name in reversed(list(enumerate(folders))) if name.lower() in SPLIT_OF), None)
    if len(folders) >= 2 and depth is not None and folders[-1].lower() in DETECTION_FOLDERS:
        return (
            "<split>/images/ with texts in <split>/labels/ is the layout of object detection (YOLO), without classes: "
            "move the photos into <split>/<class>/"
        )
    if depth is None and len(folders) < 2:
        return (
            "no folder names its split, and at most one its class: move the photos into <split>/<class>/; "
            "or `--test-share 0.2` splits folders <class>/, and --split with --label names both for all photos"
        )
    if depth is None:
        return (
            f"the folder {folders[-2]!r} holds folders of classes and is not a split (train, test, val, …): "
            "rename it; or `--test-share 0.2` splits each class, `--split train` takes all photos for training"
        )
    if depth == len(folders) - 1:
        return f"it is in {'/'.join(folders[-2:])} itself, and no folder names its class: move it into {folders[-1]}/<class>/"
    where = "/".join((*folders[depth : depth + 2], "…"))
    return f"it is deeper than <split>/<class>/<photo>, in {where}: move the folders of classes directly into {folders[depth]}/"
