"""The page's files, read once when the server starts: no path of a request ever reaches the file system."""

from __future__ import annotations

from importlib.resources import files
from pathlib import PurePosixPath
from typing import final

from starlette.responses import Response

from camelid.serve.faults import ApiFault
from camelid.serve.guard import PAGE_POLICY

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
}
_HEADERS = {"content-security-policy": PAGE_POLICY, "cache-control": "no-cache"}
_INDEX = "index.html"


@final
class Pages:
    """Files by name. `files` in `camelid/serve/page/` with an ending that is known are served, nothing else is."""

    def __init__(self) -> None:
        folder = files("camelid.serve") / "page"
        self._files: dict[str, tuple[bytes, str]] = {}
        if folder.is_dir():
            for file in folder.iterdir():
                kind = _TYPES.get(PurePosixPath(file.name).suffix)
                if kind is not None and file.is_file():
                    self._files[file.name] = (file.read_bytes(), kind)

    @property
    def names(self) -> list[str]:
        """Of what is served."""
        return sorted(self._files)

    def response(self, name: str = _INDEX) -> Response:
        """Raises ApiFault 404."""
        found = self._files.get(name)
        if found is None:
            raise ApiFault(404, "there is no such page", code="not_found")
        return Response(found[0], media_type=found[1], headers=_HEADERS)
