"""What a captured prediction is: the columns of the Parquet files under ``capture/<model>/<day>/``.

`orchard serve --capture` writes the files, `orchard captures` reads them, and so do DuckDB and Hugging Face's `datasets`.
Their names are in `orchard.layout`. docs/privacy.md says what is stored of a request, and what never is.
"""

from __future__ import annotations

import hashlib

__all__ = ["COLUMNS", "photo_name"]

COLUMNS = {
    "image": "image",
    "label": "string",
    "probability": "float32",
    "unsure": "bool",
    "version": "int64",
    "channel": "string",
    "time": "timestamp[us, tz=UTC]",
    "request_id": "string",
    "photo": "int32",
    "client": "string",
}
"""All columns with their types, in their order.

`image` is a struct of `bytes` (the photo without metadata) and `path` (its name, of its digest), as in the shards of a
dataset. `label`, `probability` and `unsure` are null where the model has no such output, `channel` where the request named
none. `photo` counts the photos of a request, from 0. `client` is a hash that is good for one day.
"""


def photo_name(image: bytes) -> str:
    """Return the name of a captured photo, JPEG or PNG: the same bytes have the same name."""
    return hashlib.sha256(image).hexdigest()[:16] + (".jpg" if image.startswith(b"\xff\xd8") else ".png")
