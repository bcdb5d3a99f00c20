"""Conditional requests. The ETag of a resource is its version, so a 304 needs no rendering and no hashing."""

import functools
import hashlib
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
from flask import Response, request
from werkzeug.datastructures import Headers

from core.cache import CachedView
from core.commands import Command
from models.errors import PreconditionRequired

from .rpc import call_without_idempotency_key
from .view_attributes import document, set_existence_check

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

View = TypeVar("View", bound=Callable[..., Any])

_VERSION_TAG = re.compile(r'"[1-9][0-9]{0,15}"')
_NO_VERSION = 0  # versions count from 1


# The client may cache the response, but must revalidate it before each use.
_REVALIDATE = ("Cache-Control", "private, no-cache")
_JSON = ("Content-Type", "application/json")


class _PreparedResponse(Response):
    """A response with complete headers. Skips werkzeug's processing of headers, a tenth of the cost of a 304."""

    default_mimetype = None
    automatically_set_content_length = False

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        start_response(self.status, self.headers.to_wsgi_list())
        return () if environ["REQUEST_METHOD"] == "HEAD" else cast("list[bytes]", self.response)

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:  # noqa: ARG002 werkzeug's signature
        return self.headers


def json_response(stored: CachedView) -> Response:
    """Return the stored body with its ETag, or a 304 if the ETag is in If-None-Match."""
    return _conditional_response(str(stored.version), stored.body)


def versioned_response(reply: dict[str, Any], *, has_links: bool = False) -> Response:
    """Return ``reply["view"]`` as JSON, with ``reply["version"]`` as ETag; 204 if the view is None.

    A view that ``has_links`` is never a 304: the signed links that the client has may have ended.
    """
    body = msgspec.json.encode(reply["view"])
    if has_links:
        headers = [("ETag", f'"{reply["version"]}"'), ("Cache-Control", "private, no-store")]
        return _PreparedResponse(body, headers=[*headers, _JSON, ("Content-Length", str(len(body)))])
    response = json_response(CachedView(reply["version"], body))
    if reply["view"] is None:
        response.status_code = 204
    return response


CREATED_HEADERS = {"ETag": "ETag", "Location": "Location"}  # names of header components in the OpenAPI document


def created(view: dict[str, Any], location: str) -> Response:
    """Return a new object with its URL and its version, as a 201."""
    return created_response(json_response(CachedView.from_view(view)), location)


def created_response(response: Response, location: str) -> Response:
    """Turn ``response`` into a 201 with this Location header."""
    response.status_code = 201
    response.headers["Location"] = location
    return response


def encode_page(link: str, body: bytes) -> bytes:
    """Return a list page as it is cached: its ETag, which is a hash of the rest, the Link header, and the body."""
    page = link.encode() + b"\n" + body
    return hashlib.blake2b(page, digest_size=12).hexdigest().encode() + b"\n" + page


def cached_page_response(page: bytes) -> Response:
    """Return the response to a request for a page of ``encode_page``."""
    tag, link, body = page.split(b"\n", 2)
    return _conditional_response(tag.decode(), body, link=link.decode())


def not_modified(version: int) -> Response:
    """Return a 304 with the ETag of ``version``."""
    return _PreparedResponse(status=304, headers=[("ETag", f'"{version}"'), _REVALIDATE])


def if_none_match_version() -> int | None:
    """Return the version in If-None-Match of a GET or HEAD; None unless it is exactly one ETag of a version."""
    tag = request.environ.get("HTTP_IF_NONE_MATCH", "")
    if not _VERSION_TAG.fullmatch(tag) or request.method not in {"GET", "HEAD"}:
        return None
    return int(tag[1:-1])


def _conditional_response(tag: str, body: bytes, *, link: str = "") -> Response:
    headers = [("ETag", f'"{tag}"'), _REVALIDATE]
    if link:
        headers.append(("Link", link))
    if _matches_if_none_match(tag):
        return _PreparedResponse(status=304, headers=headers)
    return _PreparedResponse(body, headers=[*headers, _JSON, ("Content-Length", str(len(body)))])


def _matches_if_none_match(tag: str) -> bool:
    """Return whether If-None-Match of a GET or HEAD contains ``tag``."""
    header = request.environ.get("HTTP_IF_NONE_MATCH")
    if header is None or request.method not in {"GET", "HEAD"}:
        return False
    # Nearly every client sends exactly the ETag that it received: compare the text before parsing the header.
    return header == f'"{tag}"' or request.if_none_match.contains_weak(tag)


def require_existing(command: type[Command], **fields: Any) -> Callable[[View], View]:
    """Make a malformed request answer 404 first if ``command`` does not find the object in the path.

    The fields of ``command`` are the path parameters and ``fields``.
    """

    def decorate(view: View) -> View:
        def existence_check(**path_parameters: Any) -> None:
            call_without_idempotency_key(command(**path_parameters, **fields))

        set_existence_check(view, existence_check)
        return view

    return decorate


def if_match(view: View) -> View:
    """Require If-Match before the body is parsed, and pass its version to the view as ``expected_version``.

    Raises PreconditionRequired.
    """

    @functools.wraps(view)
    def conditional(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs, expected_version=expected_version())

    document(conditional, if_match=True)
    return cast("View", conditional)


def optional_if_match(view: View) -> View:
    """Pass the version in If-Match to the view as ``expected_version``: None without the header or with ``*``."""

    @functools.wraps(view)
    def conditional(*args: Any, **kwargs: Any) -> Any:
        tags = request.if_match
        expected = expected_version() if tags and not tags.star_tag else None
        return view(*args, **kwargs, expected_version=expected)

    document(conditional, optional_if_match=True)
    return cast("View", conditional)


def expected_version() -> int:
    """Return the version in If-Match, or _NO_VERSION, which matches no resource, for any other ETag.

    Raises PreconditionRequired if the header is missing or ``*``, which does not say what the client has seen.
    """
    tags = request.if_match
    if not tags or tags.star_tag:
        raise PreconditionRequired
    # Accept weak ETags: compressing proxies weaken them, but the version in them stays exact.
    named = tags.as_set(include_weak=True)
    tag = (named.pop() or "") if len(named) == 1 else ""
    return int(tag) if tag.isascii() and tag.isdecimal() and len(tag) < len(str(2**63)) else _NO_VERSION
