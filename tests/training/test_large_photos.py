"""What phones make is taken, in bounded memory; what is refused names the key of the schema that decides."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from PIL import Image

from orchard.cli import main
from tests import photo_files
from training.data.ingest.decode import inspect
from training.data.rejections import PhotoRejected, RejectionReason
from training.data.schema import SchemaRules

MEMORY = 250 << 20
"""Bytes that the decoding of a photo of 200 megapixels may take; its pixels alone would take 600 MB."""

WRITE = "from PIL import Image; import sys; Image.new('L', (16320, 12240), 90).save(sys.argv[1], 'JPEG', quality=30)"
DECODE = """
import resource, sys
from pathlib import Path
from training.data.ingest.decode import inspect
from training.data.schema import SchemaRules
body = Path(sys.argv[1]).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
photo = inspect(body, SchemaRules())
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(photo.width, photo.height, photo.body == body, (after - before) * 1024)
"""


def test_photo_of_200_megapixels_is_decoded_in_bounded_memory(tmp_path):
    path = tmp_path / "photo.jpg"
    subprocess.run([sys.executable, "-c", WRITE, str(path)], check=True)

    printed = subprocess.run(
        [sys.executable, "-c", DECODE, str(path)], check=True, capture_output=True, text=True
    ).stdout

    width, height, kept, memory = printed.split()
    assert (width, height, kept) == ("16320", "12240", "True")
    assert int(memory) < MEMORY


SMALL = SchemaRules(full_size=100 * 100)


def test_jpeg_above_the_full_size_is_decoded_smaller_and_other_formats_name_the_key():
    picture = photo_files.photo(side=300)
    photo = inspect(photo_files.encoded(picture), SMALL)

    assert (photo.width, photo.height) == (300, 300)
    assert inspect(photo_files.encoded(picture.convert("CMYK")), SMALL).height == 300
    assert photo.pixels_sha256 != inspect(photo_files.encoded(picture), SchemaRules()).pixels_sha256
    for body in (photo_files.encoded(picture, "PNG"), photo_files.encoded(picture, progressive=True)):
        with pytest.raises(PhotoRejected, match="`full_size` in the schema") as refused:
            inspect(body, SMALL)
        assert refused.value.reason is RejectionReason.TOO_LARGE


def test_turned_and_damaged_large_jpegs_are_treated_as_small_ones():
    body = photo_files.encoded(
        photo_files.photo(side=300).crop((0, 0, 300, 200)), exif=Image.open(_rotated()).getexif()
    )

    assert (inspect(body, SMALL).width, inspect(body, SMALL).height) == (200, 300)
    with pytest.raises(PhotoRejected) as refused:
        inspect(body[: len(body) // 2], SMALL)
    assert refused.value.reason in {RejectionReason.TRUNCATED, RejectionReason.DAMAGED}


def _rotated():
    import io

    return io.BytesIO(photo_files.rotated())


@pytest.mark.parametrize(
    ("side", "key"), [({"min": 101, "max": 200}, "side.min"), ({"min": 1, "max": 99}, "side.max, full_size or bytes")]
)
def test_hint_names_the_key_of_the_schema_that_decides(tmp_path, monkeypatch, capsys, side, key):
    monkeypatch.chdir(tmp_path)
    photo_files.fill(tmp_path / "own", train=2, test=1)
    (tmp_path / "schema.yaml").write_text(json.dumps({"format": 1, "defaults": {"side": side}}))

    code = main(["ingest", "own", "--dataset", "own", "--no-push", "--schema", "schema.yaml", "--json"])

    error = json.loads(capsys.readouterr().out)["error"]
    assert code == 4
    assert f"change {key} in schema.yaml, for 'own' or in defaults" in error["hint"]
    assert "--max-refused" not in error["hint"]
    assert "in the schema)" in error["message"]
