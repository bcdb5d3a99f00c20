"""Error pages, and what a person reads when the API answers with an error."""

from coursebus import errors
from flask import Flask, flash, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response
from werkzeug.exceptions import HTTPException

from core.log import get_logger

from .language import _, mark
from .navigation import current_path, own_path

log = get_logger(__name__)

_TITLES = {
    400: mark("This did not work"),
    403: mark("You may not see this page"),
    404: mark("This page does not exist"),
    405: mark("This page does not exist"),
    413: mark("The form is too long"),
    429: mark("Too many requests"),
    500: mark("Something went wrong"),
    503: mark("We are not available at the moment"),
}
_TEXTS = {
    400: mark("Please go back, load the page again and repeat what you did."),
    403: mark("Your account does not have the right to see it."),
    404: mark("The address may be misspelled, or the page was removed."),
    429: mark("Please wait a minute and try again."),
    500: mark("The error was recorded. Please try again in a minute."),
    503: mark("Please try again in a minute. Nothing was lost."),
}

# What a buyer or learner may meet, by the code of the API. Other errors are shown as the API words them, in English.
_KNOWN = {
    "coupon_unknown": mark("There is no such coupon."),
    "coupon_expired": mark("The coupon is not valid at this time."),
    "coupon_exhausted": mark("The coupon has been used up."),
    "coupon_not_applicable": mark("The coupon does not apply to this purchase."),
    "coupon_currency_mismatch": mark("The coupon is for prices in another currency."),
    "already_purchased": mark("You already own this course."),
    "payment_refused": mark("The payment provider refused the payment. Please try again or choose another one."),
    "lesson_locked": mark("This lesson is locked"),
    "attempts_exhausted": mark("You have used all attempts. Your instructor can give you another one."),
    "attempt_not_started": mark("Please start an attempt first."),
    "precondition_failed": mark("It was changed in another window. Please check and save again."),
}


def error_page(status: int, text: str | None = None, reference: str | None = None) -> Response:
    """Return the page for ``status``. ``reference`` is the request id by which support finds the request."""
    title = _TITLES.get(status, _TITLES[400 if status < 500 else 500])  # noqa: PLR2004 client errors are below 500
    default = _TEXTS.get(status, _TEXTS[400 if status < 500 else 500])  # noqa: PLR2004 as above
    page = render_template("error.html", status=status, title=_(title), text=text or _(default), reference=reference)
    response = make_response(page, status)
    if status == 503:  # noqa: PLR2004 HTTP status
        response.headers["Retry-After"] = "10"
    return response


def init_app(app: Flask) -> None:
    """Show errors of the pages and of the API as pages."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(errors.ApiError, _api_error)
    app.register_error_handler(errors.ConnectionFailed, _unreachable)
    app.register_error_handler(Exception, _unexpected)


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None:
        return error.response
    return error_page(error.code or 500)


def _api_error(error: errors.ApiError) -> ResponseReturnValue:
    """Answer a form with a message on the page it came from, anything else with an error page."""
    if isinstance(error, errors.Unauthorized):
        session.clear()
        return redirect(url_for("sign_in", next=current_path() if request.method == "GET" else "/"), 303)
    if isinstance(error, errors.Unavailable | errors.OutcomeUnknown):
        return error_page(503, reference=error.request_id)
    if request.method == "POST" and not isinstance(error, errors.NotFound | errors.Forbidden):
        flash(message_of(error), "problem")
        return redirect(own_path(request.form.get("back") or _referring_path()), 303)
    if error.status >= 500:  # noqa: PLR2004 server errors
        log.error("the API failed", code=error.code, api_request_id=error.request_id)
    text = None if isinstance(error, errors.NotFound | errors.Forbidden) else error.detail
    return error_page(error.status if error.status in _TITLES else 400, text, error.request_id)


def message_of(error: errors.ApiError) -> str:
    """Return what the person reads: known errors in their language, others as the API says it."""
    fields = " ".join(each["detail"] for each in error.errors)
    return _(_KNOWN[error.code]) if error.code in _KNOWN else f"{error.detail} {fields}".strip()


def _referring_path() -> str | None:
    """Return the path of the page with the form; the Referer is always of this origin, see the form token."""
    referrer = request.headers.get("Referer", "")
    return referrer.removeprefix(request.host_url.rstrip("/")) if referrer.startswith(request.host_url) else None


def _unreachable(error: errors.ConnectionFailed) -> ResponseReturnValue:
    log.warning("the API does not answer", reason=str(error))
    return error_page(503)


def _unexpected(error: Exception) -> ResponseReturnValue:
    log.error("a page failed", path=request.path, exc_info=error)
    return error_page(500)
