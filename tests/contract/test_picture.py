"""The picture of README.md: a script draws it from what a demo printed, and the committed one is small and says nothing of a machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs/pictures/demo.svg"
LOG = """Orchard's loop on synthetic photos, in .orchard/demo/synthetic

\x1b[1mstore     \x1b[0m    1.2 s  S3 at http://127.0.0.1:8333
ingest         10 s  … decoding photos
ingest       12.4 s  dataset synthetic: 240 photos, version 1 in the store & more
predict       0.4 s  Banana, 99.1 % (a photo of Banana that training never saw)
WARNING: something else

From photos to a served prediction in 15 s. Look at:
  the evaluation, with every miss   .orchard/demo/synthetic/artifacts/evaluation/page.html
"""


def draw(tmp_path, log, *options):
    (tmp_path / "demo.log").write_text(log)
    command = [
        sys.executable,
        ROOT / "scripts/picture",
        "--from",
        tmp_path / "demo.log",
        "--out",
        tmp_path / "new/demo.svg",
        *options,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False), tmp_path / "new/demo.svg"


def words_of(path):
    return ["".join(element.itertext()) for element in ElementTree.parse(path).iter() if element.tag.endswith("}text")]  # noqa: S314


def test_picture_has_what_the_demo_printed_and_no_progress(tmp_path):
    done, path = draw(tmp_path, LOG)

    assert done.returncode == 0, done.stderr
    words = words_of(path)
    assert "$ make demo" in words
    assert "ingest       12.4 s  dataset synthetic: 240 photos, version 1 in the store & more" in words
    assert "From photos to a served prediction in 15 s. Look at:" in words
    assert not [line for line in words if "decoding" in line or "WARNING" in line]
    assert {"photos", "registry", "model server"} <= set(words)


def test_times_of_a_busy_machine_are_left_out(tmp_path):
    _, path = draw(tmp_path, LOG, "--no-times")

    words = words_of(path)
    assert "From photos to a served prediction. Look at:" in words
    assert [line for line in words if line.startswith("predict")] == [
        "predict     Banana, 99.1 % (a photo of Banana that training never saw)"
    ]
    assert not [line for line in words if " s  " in line]


def test_output_of_another_command_is_refused_with_what_to_do(tmp_path):
    done, path = draw(tmp_path, "error: no demo\n")

    assert done.returncode == 1
    assert "make demo 2>&1 | tee demo.log" in done.stderr
    assert not path.exists()


def test_picture_of_the_readme_is_small_and_says_nothing_of_a_machine():
    assert f"({PICTURE.relative_to(ROOT)})" in (ROOT / "README.md").read_text()
    assert PICTURE.stat().st_size <= 200_000
    words = "\n".join(words_of(PICTURE))
    assert re.search(r"^predict +\S", words, re.MULTILINE)
    assert not re.search(r"/(home|root|tmp|work)/", words)
