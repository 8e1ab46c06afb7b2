"""The console's stylesheet, scripts and icon: a fixed set, read once, whose names in pages change with their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from orchard.page_style import PAGE_STYLE

__all__ = ["FOLDER", "PREFIX", "PageAssets"]

FOLDER = Path(__file__).parent
PREFIX = "/console/assets/"

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_KEPT = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    media_type: str


class PageAssets:
    """All assets. The stylesheet is the one of Orchard's pages, and what only the console has."""

    def __init__(self) -> None:
        bodies = {path.name: path.read_bytes() for path in sorted((FOLDER / "assets").iterdir())}
        bodies["console.css"] = PAGE_STYLE.encode() + bodies["console.css"]
        digest = hashlib.sha256(b"".join(bodies.values())).hexdigest()[:12]
        self.folder = f"{PREFIX}{digest}/"
        """Where pages find them: another folder for other content, so a browser may keep what it has."""
        self._assets = {name: _Asset(body, _TYPES[Path(name).suffix]) for name, body in bodies.items()}

    @property
    def bytes(self) -> int:
        """The size of all assets together."""
        return sum(len(asset.body) for asset in self._assets.values())

    async def answer(self, request: Request) -> Response:
        """Return the asset that the path's last part names."""
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            return PlainTextResponse("there is no such file", 404)
        current = f"{PREFIX}{request.path_params['digest']}/" == self.folder
        kept = _KEPT if current else "no-store"  # an old page beside a new program, or the other way round
        return Response(asset.body, media_type=asset.media_type, headers={"Cache-Control": kept})
