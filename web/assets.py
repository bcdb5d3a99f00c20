"""The style sheet, scripts and icon. Their addresses have a hash of the content, so browsers keep them for a year."""

import hashlib
from pathlib import Path

from flask import Flask, Response, request, url_for

_YEAR_SECONDS = 365 * 24 * 3600
_FOLDER = Path(__file__).parent / "static"


def init_app(app: Flask) -> None:
    """Add ``asset(name)`` to the templates."""
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in _FOLDER.iterdir() if path.is_file()
    }

    @app.template_global()
    def asset(name: str) -> str:
        return url_for("static", filename=name, v=hashes[name])

    @app.after_request
    def cache_assets(response: Response) -> Response:
        if request.endpoint == "static" and response.status_code in {200, 304}:
            is_current = request.args.get("v") == hashes.get(str((request.view_args or {}).get("filename")))
            response.headers["Cache-Control"] = (
                f"public, max-age={_YEAR_SECONDS}, immutable" if is_current else "public, max-age=0, must-revalidate"
            )
        return response
