"""The S3-compatible store of files: signed links for clients, and the calls that the service makes itself.

botocore only signs. Its client would load the descriptions of a service, 20 MB of memory for four kinds of requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import quote

import requests
import urllib3
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import settings
from models.errors import StorageUnavailable

START_BYTES = 4096  # that are read to recognise the type of a file
_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class Link:
    """A signed URL, which ends, and the signed headers that a request must have."""

    url: str
    expires_at: datetime
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Contents:
    """The start of a stored file, and its size."""

    start: bytes
    size_bytes: int


def upload_link(key: str, *, content_type: str, size_bytes: int) -> Link:
    """Return a link for one PUT of exactly this type and size: these headers are signed.

    ``If-None-Match`` lets the store refuse to replace contents: those that were checked stay as they are.
    """
    headers = {"Content-Type": content_type, "Content-Length": str(size_bytes), "If-None-Match": "*"}
    return _link("PUT", key, settings.UPLOAD_LINK_SECONDS, headers=headers)


def download_link(key: str, *, content_type: str, file_name: str | None = None) -> Link:
    """Return a link for a GET; with ``file_name`` browsers save the file instead of showing it."""
    disposition = f"attachment; filename*=UTF-8''{quote(file_name)}" if file_name else "inline"
    query = {"response-content-type": content_type, "response-content-disposition": disposition}
    return _link("GET", key, settings.FILE_LINK_SECONDS, query=query)


def read_start(key: str) -> Contents | None:
    """Return the start and the size of a stored file; None if there is none. Raises StorageUnavailable."""
    with _send("GET", key, headers={"Range": f"bytes=0-{START_BYTES - 1}"}) as response:
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            size_bytes = int(response.headers["Content-Range"].rpartition("/")[2])
        else:
            _require_ok(response)
            size_bytes = int(response.headers["Content-Length"])
        try:
            start = response.raw.read(START_BYTES, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:  # requests maps errors of its own methods only
            raise StorageUnavailable from error
    return Contents(start, size_bytes)


def delete(key: str) -> None:
    """Delete a stored file, if it is there. Raises StorageUnavailable."""
    with _send("DELETE", key) as response:
        if response.status_code != HTTPStatus.NOT_FOUND:
            _require_ok(response)


def _send(method: str, key: str, headers: Mapping[str, str] | None = None) -> requests.Response:
    url = _sign(settings.STORAGE_URL, method, key, seconds=60)
    try:
        # Not the whole file: a store that ignores the range would send gigabytes.
        return requests.request(method, url, headers=headers, timeout=_TIMEOUT_SECONDS, stream=True)
    except requests.RequestException as error:
        raise StorageUnavailable from error


def _require_ok(response: requests.Response) -> None:
    if not response.ok:
        raise StorageUnavailable


def _link(
    method: str,
    key: str,
    seconds: int,
    *,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> Link:
    url = _sign(settings.STORAGE_PUBLIC_URL, method, key, seconds=seconds, headers=headers, query=query)
    return Link(url, datetime.now(UTC) + timedelta(seconds=seconds), dict(headers or {}))


def _sign(
    server: str,
    method: str,
    key: str,
    *,
    seconds: int,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> str:
    """Return the signed URL of an object (AWS Signature Version 4). Raises StorageUnavailable without a store."""
    if not server:
        raise StorageUnavailable
    url = f"{server}/{settings.STORAGE_BUCKET}/{quote(key)}"
    request = AWSRequest(method, url, headers=dict(headers or {}), params=dict(query or {}))
    credentials = Credentials(settings.STORAGE_ACCESS_KEY, settings.STORAGE_SECRET_KEY)
    S3SigV4QueryAuth(credentials, "s3", settings.STORAGE_REGION, expires=seconds).add_auth(request)
    return str(request.url)
