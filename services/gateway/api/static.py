"""The dashboard's files, with a content policy that lets nothing in from elsewhere."""

import re
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from services.gateway.api.problems import not_found

router = APIRouter(include_in_schema=False)

SECURITY = {
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_HASHED = re.compile(r"-[A-Za-z0-9_-]{8,}\.[a-z0-9]+$")
"""Names that change with their content (`index-Bx3f9a2c.js`) may be kept for ever."""
_NOT_BUILT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Sextant</title>
<h1>The dashboard is not built</h1>
<p>Run <code>make dashboard</code>, then load this page again.
The API describes itself at <a href="/openapi.json">/openapi.json</a>.</p>
</html>
"""
_RESERVED = ("v1/", "health/", ".well-known/")


@router.get("/{path:path}")
async def dashboard(path: str, request: Request) -> Response:
    """A file of the build; any other path is a page of the app, which routes by itself."""
    folder: Path = request.app.state.desk.settings.dashboard.resolve()
    if path.startswith(_RESERVED):
        raise not_found(f"/{path}")
    index = folder / "index.html"
    if not index.is_file():
        return HTMLResponse(_NOT_BUILT, status_code=503, headers={"cache-control": "no-store"})
    wanted = (folder / path).resolve()
    if path and wanted.is_relative_to(folder) and wanted.is_file():
        cached = "public, max-age=31536000, immutable" if _HASHED.search(wanted.name) else "no-cache"
        return FileResponse(wanted, headers={"cache-control": cached})
    if "." in path.rpartition("/")[2]:
        raise not_found(f"/{path}")
    return FileResponse(index, headers={"cache-control": "no-cache"})
