"""Synthetic photos: the same for a seed, in arcs, and learnable, but not by their mean colour alone."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from orchard.cli import main
from orchard.errors import DataError
from training.data import synthetic
from training.data.ingest.decode import inspect
from training.data.schema import SchemaRules


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.jpg"))}


def test_same_seed_draws_the_same_bytes_and_another_seed_others(tmp_path):
    first, again, other = (
        synthetic.generate(tmp_path / name, count=2, photos=20, seed=seed) and files(tmp_path / name)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )

    assert first == again
    assert first.keys() == other.keys()
    assert not set(first.values()) & set(other.values())


def test_photos_are_named_by_axis_and_frame_and_test_is_one_arc(tmp_path):
    counts = synthetic.generate(tmp_path / "photos", count=3, photos=120, seed=0)

    frames = {"Training": set(), "Test": set()}
    for name in files(tmp_path / "photos"):
        split, label, photo = name.split("/")
        assert label in counts[split]
        frames[split].add(int(re.fullmatch(r"(?:r_)?(\d+)_100\.jpg", photo)[1]))
    assert sum(counts["Training"].values()) + sum(counts["Test"].values()) == 120
    assert frames["Test"] <= set(synthetic.TEST_ARC)
    assert not frames["Training"] & set(synthetic.TEST_ARC)
    assert all(number >= 4 for by_class in counts.values() for number in by_class.values())


def test_drawing_again_finds_the_photos_and_never_draws_over_others(tmp_path):
    folder = tmp_path / "photos"
    counts = synthetic.generate(folder, count=2, photos=16, seed=0)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    assert synthetic.generate(folder, count=2, photos=16, seed=0) == counts
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(DataError, match="holds other photos"):
        synthetic.generate(folder, count=2, photos=16, seed=5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    with pytest.raises(DataError, match="not empty"):
        synthetic.generate(tmp_path / "mine", count=2, photos=16, seed=0)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["diary.txt"]


@pytest.mark.parametrize(("count", "photos"), [(1, 100), (99, 1000), (4, 8), (2, 5000)])
def test_impossible_numbers_are_refused_and_nothing_is_drawn(tmp_path, count, photos):
    with pytest.raises(DataError):
        synthetic.generate(tmp_path / "photos", count=count, photos=photos, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_every_class_is_another_fruit_and_every_photo_another_picture():
    names = synthetic.classes(synthetic.MOST_CLASSES)
    pictures = [synthetic.draw(synthetic.specimen(name), frame) for name in names for frame in (0, 100)]

    assert len(set(names)) == synthetic.MOST_CLASSES
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert all(picture.size == (100, 100) and picture.mode == "RGB" for picture in pictures)


def test_test_arc_can_be_predicted_from_training_but_not_by_mean_colour_alone(tmp_path):
    """The nearest neighbour on small pictures does well, as on the real turntable; mean colours are not enough."""
    synthetic.generate(tmp_path / "photos", count=12, photos=480, seed=3)
    data = {"Training": ([], []), "Test": ([], [])}
    for name, body in files(tmp_path / "photos").items():
        split, label, _ = name.split("/")
        small = Image.open(io.BytesIO(body)).resize((20, 20), Image.Resampling.BOX)
        data[split][0].append(np.asarray(small, np.float32))
        data[split][1].append(label)
    train, test = (np.stack(data[split][0]) for split in ("Training", "Test"))
    truth = np.array(data["Test"][1])

    def nearest(a, b):
        distances = (a * a).sum(1)[None] - 2 * b @ a.T
        return (np.array(data["Training"][1])[distances.argmin(1)] == truth).mean()

    assert nearest(train.reshape(len(train), -1), test.reshape(len(test), -1)) > 0.9
    assert nearest(train.mean((1, 2)), test.mean((1, 2))) < 0.9


def test_verb_draws_photos_that_ingest_takes(workspace, capsys):
    assert main(["synthetic", "drawn", "--classes", "2", "--photos", "16", "--json"]) == 0

    assert '"classes": ["Red Round", "Yellow Long"]' in capsys.readouterr().out
    for body in files(workspace / "drawn").values():
        assert inspect(body, SchemaRules()).changed == ""
