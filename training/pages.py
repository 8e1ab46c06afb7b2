"""Pages for people: templates in, one self-contained HTML file out, or a Markdown file.

Every page extends `templates/base.html`, which contains the one stylesheet (`orchard.page_style`). A page loads no file and no
address beside itself: pictures are data URIs, drawings are inline SVG, and its content security policy forbids the rest. Each ends
with when, by whom and with which code it was made. The pages of a workspace link to each other (`WORKSPACE_PAGES`).
"""

from __future__ import annotations

import base64
import functools
import io
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import numpy as np
from PIL import Image, ImageOps

from orchard.files import atomic_write
from orchard.formatting import figure_text, interval_text, percent, points, points_interval, threshold_text
from orchard.intervals import share_interval
from orchard.orientation import UPRIGHT, read_orientation, turn
from orchard.page_style import PAGE_STYLE
from orchard.runs import records
from training.code_version import describe_code
from training.stored_photos import open_stored

__all__ = [
    "MOST_ROWS",
    "WORKSPACE_PAGES",
    "RawMarkdown",
    "count",
    "figure",
    "interval",
    "interval_of",
    "link",
    "made_now",
    "render",
    "size",
    "thumbnail",
    "write",
]

WORKSPACE_PAGES = {
    "artifacts/validation/page.html": "dataset",
    "artifacts/evaluation/page.html": "evaluation",
    "artifacts/gate/page.html": "gate",
    "artifacts/card/card.html": "model card",
}
"""The pages of a workspace that link to each other, and the texts of the links."""

MOST_ROWS = 200
"""The most rows of a table on a page: of a thousand classes, a person reads those at the top."""

_NO_LINKS = '<nav class="links"></nav>'
"""What `templates/base.html` has in the place of the links."""


def made_now(dataset: str = "", channels: str = "") -> list[tuple[str, str]]:
    """Return when, by whom and with which code a page is made, for its last lines.

    Args:
        dataset: the dataset and its version; empty: the page names it elsewhere.
        channels: the versions that the channels point to; empty: not known.
    """
    facts = {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "by": records.local_actor(),
        "code": describe_code(),
        "dataset": dataset,
        "channels": channels,
    }
    return [(name, text) for name, text in facts.items() if text]


def link(page: str, own: str) -> str:
    """Add the links to the other pages of a workspace to a page without links.

    Args:
        page: the HTML.
        own: the page's path in the workspace, one of `WORKSPACE_PAGES`.
    """
    names = WORKSPACE_PAGES.items()
    links = [
        f"<b>{text}</b>" if path == own else f'<a href="{os.path.relpath(path, Path(own).parent)}">{text}</a>'
        for path, text in names
    ]
    return page.replace(_NO_LINKS, f'<nav class="links">{" · ".join(links)}</nav>', 1)


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
    filters = (percent, points, points_interval, threshold_text, interval, figure, interval_of, count, size)
    environment.globals.update(most_rows=MOST_ROWS, page_style=markupsafe.Markup(PAGE_STYLE))  # noqa: S704  our own
    environment.filters.update({function.__name__: function for function in filters})
    return environment


def render(template: str, **context: Any) -> str:
    """Render a template of `training/templates`. A name that the template uses and the context lacks is an error.

    Only `made` may be left out: see `made_now`.

    All values are escaped: for HTML, or for Markdown if the template's name ends with ``.md``.
    """
    known = {"made": context.get("made") or made_now()}
    return _environment(markdown=template.endswith(".md")).get_template(template).render(**{**context, **known})


def write(path: Path, template: str, *, own: str = "", **context: Any) -> None:
    """Render a template and write the page to `path` atomically; folders are made as needed.

    With `own`, the page's path in the workspace, it links to the workspace's other pages.
    """
    page = link(render(template, **context), own) if own else render(template, **context)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, page)
