"""Conditional requests. The ETag of a resource is its version, so nothing is rendered only to be hashed."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Response, request

from models.cache import Stored
from models.errors import PreconditionRequired

View = TypeVar("View", bound=Callable[..., Any])

_NO_VERSION = 0  # versions count from 1


def respond(stored: Stored) -> Response:
    """Answer with what is stored and its ETag; 304 where the client's If-None-Match names it."""
    version = str(stored.version)
    # Kept by the client itself, and shown only after asking whether it still holds.
    headers = {"ETag": f'"{version}"', "Cache-Control": "private, no-cache"}
    if _has(version):
        return _unchanged(headers)
    return Response(stored.body, headers=headers, content_type="application/json")


def respond_page(page: bytes) -> Response:
    """Answer with a stored page of a list: its Link, a line break, its body. Its ETag is a hash of them."""
    link, _, body = page.partition(b"\n")
    etag = hashlib.blake2b(page, digest_size=12).hexdigest()
    headers = {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache", **({"Link": link.decode()} if link else {})}
    if _has(etag):
        return _unchanged(headers)
    return Response(body, headers=headers, content_type="application/json")


def _unchanged(headers: dict[str, str]) -> Response:
    # With a content type, so that none is made up; there is no content.
    return Response(status=304, headers=headers, content_type="application/json")


def _has(tag: str) -> bool:
    """Whether the client reads, and has this already."""
    named = request.environ.get("HTTP_IF_NONE_MATCH")
    if named is None or request.method not in {"GET", "HEAD"}:
        return False
    # Nearly every client sends back just what it was given; so it is compared before it is parsed.
    return named == f'"{tag}"' or request.if_none_match.contains_weak(tag)


def if_match(view: View) -> View:
    """Ask for If-Match before the body is looked at; lends the view ``expected_version``.

    Raises PreconditionRequired.
    """

    @functools.wraps(view)
    def conditional(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs, expected_version=expected_version())

    conditional._apidoc = {**getattr(view, "_apidoc", {}), "if_match": True}  # type: ignore[attr-defined]  # noqa: SLF001 flask-smorest's door for documentation
    return conditional  # type: ignore[return-value]  # functools.wraps keeps the view's own type to itself


def expected_version() -> int:
    """The version that the client has seen, by its If-Match; an ETag that is none of ours matches no version.

    Raises PreconditionRequired without one, and for ``*``, which says nothing of what the client has seen.
    """
    tags = request.if_match
    if not tags or tags.star_tag:
        raise PreconditionRequired
    # A proxy that compresses makes our ETags weak; the version in them is as exact as before.
    named = tags.as_set(include_weak=True)
    tag = (named.pop() or "") if len(named) == 1 else ""
    return int(tag) if tag.isascii() and tag.isdecimal() and len(tag) < len(str(2**63)) else _NO_VERSION
