"""Pages for people: templates in, one self-contained HTML file out, or a Markdown file.

Every page extends `templates/base.html`, which holds the one stylesheet. A page names no file and no address beside
itself: pictures are data URIs, drawings are inline SVG, and its content security policy forbids the rest.
"""

from __future__ import annotations

import base64
import functools
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image, ImageOps

from orchard.files import atomic_write
from orchard.formatting import figure_text, interval_text, percent, points, threshold_text
from orchard.intervals import share_interval
from training.orientation import UPRIGHT, read_orientation, turn
from training.stored_photos import open_stored

__all__ = ["RawMarkdown", "count", "figure", "interval", "interval_of", "render", "size", "thumbnail", "write"]


def count(number: float) -> str:
    """Format a whole number with thin spaces between its thousands."""
    return f"{round(number):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def size(number: float) -> str:
    """Format a number of bytes in B, KB, MB or GB."""
    for unit in ("B", "KB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def thumbnail(image: bytes, side: int, *, crop: bool = False) -> str:
    """Return a photo as a data URI: a JPEG of at most `side` pixels a side; with `crop`, of its centred square."""
    with open_stored(image) as picture:
        small = picture.convert("RGB")
    if (orientation := read_orientation(image)) != UPRIGHT:
        small = Image.fromarray(np.ascontiguousarray(turn(np.asarray(small), orientation)))
    if crop:
        small = ImageOps.fit(small, (side, side))
    else:
        small.thumbnail((side, side))
    packed = io.BytesIO()
    small.save(packed, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode("ascii")


def interval(counts: Mapping[str, int]) -> str:
    """Write the 95 % interval of a slice or a class, from its ``correct`` and ``n``, rounded outwards."""
    if not 0 <= counts["correct"] <= counts["n"]:  # the page of a refused evaluation shows figures that cannot be
        return percent(None)
    return interval_text(share_interval(counts["correct"], counts["n"])) if counts["n"] else ""


def figure(item: Mapping[str, float] | None) -> str:
    """Write a figure of an evaluation, ``value``, ``low`` and ``high``, with its 95 % interval; None: there is none."""
    return figure_text(item["value"], (item["low"], item["high"])) if item else percent(None)


class RawMarkdown(str):
    """A text that is Markdown already, and is not escaped."""

    __slots__ = ()


def _escape_markdown(value: Any) -> str:
    """Escape a value, so that it is one line of text in Markdown and in the HTML that becomes of it."""
    if isinstance(value, RawMarkdown):
        return value
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", re.sub(r"\s+", " ", str(value))).replace("&", "&amp;")


def interval_of(item: Mapping[str, float]) -> str:
    """Write only the 95 % interval of a figure of an evaluation."""
    return interval_text((item["low"], item["high"]))


@functools.cache
def _environment(*, markdown: bool = False) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=not markdown,  # noqa: S701  # Markdown has its own escapes
        finalize=_escape_markdown if markdown else None,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (percent, points, threshold_text, interval, figure, interval_of, count, size)
    environment.filters.update({function.__name__: function for function in filters})
    return environment


def render(template: str, **context: Any) -> str:
    """Render a template of `training/templates`. A name that the template uses and the context lacks is an error.

    All values are escaped: for HTML, or for Markdown if the template's name ends with ``.md``.
    """
    return _environment(markdown=template.endswith(".md")).get_template(template).render(**context)


def write(path: Path, template: str, **context: Any) -> None:
    """Render a template and write the page to `path` atomically; folders are made as needed."""
    page = render(template, **context)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, page)
