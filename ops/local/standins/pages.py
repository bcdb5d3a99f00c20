"""The provider's hosted payment page, and how its answer depends on who asks."""

from flask import Response, jsonify, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from ops.local.standins.store import Document


def show(
    *, provider: str, title: str, lines: list[tuple[str, str]], amount: str, notice: str | None, open: bool
) -> str:
    """``lines`` are (text, amount) pairs; a page that is not ``open`` has no buttons."""
    return render_template(
        "pay.html", provider=provider, title=title, lines=lines, amount=amount, notice=notice, open=open
    )


def posted() -> Document:
    """The form or the JSON object that was posted to the page."""
    if request.is_json:
        return dict(request.get_json())
    return request.form.to_dict()


def answer(document: Document, *, location: str | None, status: int = 200) -> AnyResponse:
    """A redirect to ``location`` for a browser; the ``document`` as JSON for everything else, which need not follow."""
    if location and "text/html" in request.headers.get("Accept", ""):
        return redirect(location, 303)
    response: Response = jsonify(document | {"redirect_url": location})
    response.status_code = status
    return response
