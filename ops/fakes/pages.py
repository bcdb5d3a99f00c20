"""The provider's hosted payment page, and how its answer depends on who asks."""

from dataclasses import dataclass, field

from flask import Response, jsonify, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from ops.fakes.store import Document


@dataclass(frozen=True)
class Page:
    """``lines`` are (text, amount) pairs; a page that is not ``payable`` has no buttons."""

    provider: str
    title: str
    amount: str
    payable: bool
    notice: str | None = None
    lines: list[tuple[str, str]] = field(default_factory=list)


def show(page: Page) -> str:
    return render_template("pay.html", page=page)


def submitted() -> Document:
    """The form or the JSON object that was posted to the page."""
    if request.is_json:
        return dict(request.get_json())
    return request.form.to_dict()


def redirect_or_json(document: Document, *, location: str | None, status: int = 200) -> AnyResponse:
    """A redirect to ``location`` for a browser; the ``document`` as JSON for everything else, which need not follow."""
    if location and "text/html" in request.headers.get("Accept", ""):
        return redirect(location, 303)
    response: Response = jsonify(document | {"redirect_url": location})
    response.status_code = status
    return response
