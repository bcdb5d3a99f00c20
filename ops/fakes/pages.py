"""Render the hosted payment page of a provider, for browsers and for tests."""

from dataclasses import dataclass, field

from flask import Response, jsonify, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from ops.fakes.store import Document


@dataclass(frozen=True)
class Page:
    """The content of a page. ``lines`` are (text, amount) pairs; only a ``payable`` page has buttons."""

    provider: str
    title: str
    amount: str
    payable: bool
    notice: str | None = None
    lines: list[tuple[str, str]] = field(default_factory=list)


def show(page: Page) -> str:
    return render_template("pay.html", page=page)


def submitted() -> Document:
    """Return the form or JSON object that was posted to the page."""
    if request.is_json:
        return dict(request.get_json())
    return request.form.to_dict()


def redirect_or_json(document: Document, *, location: str | None, status: int = 200) -> AnyResponse:
    """Redirect browsers to ``location``; return ``document`` as JSON to other clients."""
    if location and "text/html" in request.headers.get("Accept", ""):
        return redirect(location, 303)
    response: Response = jsonify(document | {"redirect_url": location})
    response.status_code = status
    return response
