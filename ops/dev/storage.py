"""Run the store of files, with the part of the S3 protocol that the project uses: ``python -m ops.dev.storage``.

It serves requests with signed links only (AWS Signature Version 4 in the query): PUT, GET with a range, HEAD and DELETE
of one object. The contents are files below STATE_DIR/storage.
"""

import hmac
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import parse_qs, quote, unquote, urlsplit

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import settings
from ops.dev.ports import OFFSETS

_CHUNK_BYTES = 1024 * 1024


class Refused(Exception):
    """The request is refused with the status in ``args[0]``."""


class Handler(BaseHTTPRequestHandler):
    """Handles one connection."""

    protocol_version = "HTTP/1.1"
    folder: Path

    def do_PUT(self) -> None:
        self._answer(self._store)

    def do_GET(self) -> None:
        self._answer(self._send)

    def do_HEAD(self) -> None:
        self._answer(self._send)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def do_OPTIONS(self) -> None:
        self._respond(HTTPStatus.NO_CONTENT, {"Access-Control-Allow-Methods": "GET, HEAD, PUT"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 http.server defines the name
        """Log nothing: a link is a secret."""

    def _answer(self, execute: Callable[[Path], None]) -> None:
        try:
            self._require_signature()
            execute(self._path())
        except Refused as refusal:
            self.close_connection = True  # a body may be left
            self._respond(refusal.args[0])

    def _path(self) -> Path:
        return self.folder / quote(unquote(urlsplit(self.path).path), safe="")

    def _store(self, path: Path) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        with NamedTemporaryFile(dir=self.folder, delete=False) as target:
            while left and (chunk := self.rfile.read(min(left, _CHUNK_BYTES))):
                target.write(chunk)
                left -= len(chunk)
        if left:
            Path(target.name).unlink()
            raise Refused(HTTPStatus.BAD_REQUEST)
        if self.headers.get("If-None-Match") == "*":
            self._store_once(Path(target.name), path)
        else:
            Path(target.name).replace(path)
        self._respond(HTTPStatus.OK)

    def _store_once(self, target: Path, path: Path) -> None:
        try:
            path.hardlink_to(target)  # unlike a rename it fails if there is such a file
        except FileExistsError:
            raise Refused(HTTPStatus.PRECONDITION_FAILED) from None
        finally:
            target.unlink()

    def _send(self, path: Path) -> None:
        if not path.is_file():
            raise Refused(HTTPStatus.NOT_FOUND)
        size = path.stat().st_size
        first, last, status = 0, size - 1, HTTPStatus.OK
        unit, _, places = self.headers.get("Range", "").partition("=")
        if unit == "bytes" and "," not in places:
            begin, _, end = places.partition("-")
            first = int(begin) if begin else max(size - int(end), 0)
            last = min(int(end), size - 1) if begin and end else size - 1
            if first >= size:
                raise Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            status = HTTPStatus.PARTIAL_CONTENT
        query = parse_qs(urlsplit(self.path).query)
        headers = {"Content-Length": str(last - first + 1), "Accept-Ranges": "bytes"}
        headers |= {
            header: query[name][0]
            for header, name in (
                ("Content-Type", "response-content-type"),
                ("Content-Disposition", "response-content-disposition"),
            )
            if name in query
        }
        if status == HTTPStatus.PARTIAL_CONTENT:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._respond(status, headers)
        if self.command == "GET":
            with path.open("rb") as source:
                source.seek(first)
                while first <= last and (chunk := source.read(min(_CHUNK_BYTES, last - first + 1))):
                    self.wfile.write(chunk)
                    first += len(chunk)

    def _delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._respond(HTTPStatus.NO_CONTENT)

    def _respond(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        named = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*", **(headers or {})}
        for name, value in {"Content-Length": "0", **named}.items():
            self.send_header(name, value)
        self.end_headers()

    def _require_signature(self) -> None:
        """Raise Refused unless the URL has a valid signature that has not ended."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        try:
            signed_at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            seconds, names = int(query["X-Amz-Expires"]), query["X-Amz-SignedHeaders"].split(";")
            given = query["X-Amz-Signature"]
        except (KeyError, ValueError):
            raise Refused(HTTPStatus.FORBIDDEN) from None
        unsigned = "&".join(each for each in parts.query.split("&") if not each.startswith("X-Amz-Signature="))
        headers = {name: self.headers.get(name, "") for name in names if name != "host"}
        request = AWSRequest(self.command, f"http://{self.headers.get('Host')}{parts.path}?{unsigned}", headers)
        request.context["timestamp"] = query["X-Amz-Date"]
        credentials = Credentials(settings.STORAGE_ACCESS_KEY, settings.STORAGE_SECRET_KEY)
        auth = S3SigV4QueryAuth(credentials, "s3", settings.STORAGE_REGION, expires=seconds)
        expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        is_over = datetime.now(UTC) > signed_at + timedelta(seconds=seconds)
        if is_over or not hmac.compare_digest(expected, given):
            raise Refused(HTTPStatus.FORBIDDEN)


def serve(folder: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of the files in ``folder``, which does not run yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in folder.glob("tmp*"):  # of uploads that a stop has interrupted
        part.unlink()
    handler = type("StorageHandler", (Handler,), {"folder": folder})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


def main() -> None:
    server = serve(settings.STATE_DIR / "storage", settings.PORT_BASE + OFFSETS["storage"])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # files are complete after their rename
    server.serve_forever()


if __name__ == "__main__":
    main()
