"""The console's pages as HTML: templates in, responses out. Every value is escaped; scripts and styles are files alone."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import jinja2
from starlette.responses import HTMLResponse

from orchard.cli.version_text import FIGURE_NAMES, estimate_text, value_text, worst_first
from orchard.formatting import percent, points, points_interval
from orchard.registry.manifest import Manifest
from orchard.registry.version_figures import SourceFigures, figures_of
from serving.console.page_assets import FOLDER, PageAssets

__all__ = ["CARD_POLICY", "PAGE_POLICY", "REPLY_POLICY", "HtmlPages"]

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of pages: nothing inline, nothing from elsewhere."""

REPLY_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Of everything that is no page."""

CARD_POLICY = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""Of a model card, which is not signed: its scripts do not run, and it has an origin of its own."""


class HtmlPages:
    """Renders templates of `serving/console/templates`.

    Args:
        assets: whose addresses pages contain.
        model: the model's name.
    """

    def __init__(self, assets: PageAssets, model: str) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            assets=assets.folder, model=model, figure_names=FIGURE_NAMES, figures=_figures, worst_first=worst_first
        )
        filters = (estimate_text, _minute, value_text, percent, points, points_interval)
        self._environment.filters.update({function.__name__.lstrip("_"): function for function in filters})

    def response(self, template: str, status: int = 200, **context: Any) -> HTMLResponse:
        """Return a page. A name that the template uses and the context lacks is an error."""
        page = self._environment.get_template(template).render(**context)
        return HTMLResponse(page, status, headers={"Content-Security-Policy": PAGE_POLICY})

    def problem(self, status: int, message: str, hint: str, **frame: Any) -> HTMLResponse:
        """Return the page of an error, as a sentence and what to do."""
        title = HTTPStatus(status).phrase
        return self.response("problem.html", status, title=title, message=message, hint=hint, **frame)


def _minute(moment: str) -> str:
    """A time for people: the day and the minute."""
    return f"{moment[:10]} {moment[11:16]} UTC"


def _figures(manifest: Manifest) -> dict[str, SourceFigures]:
    """The figures of a version in a list: its manifest has them."""
    return figures_of(manifest, None)
