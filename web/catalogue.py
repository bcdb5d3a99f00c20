"""The catalogue, the pages of courses, and plans and bundles."""

from contextlib import suppress
from typing import Any

from coursebus import errors, models
from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from .api import client, is_signed_in
from .language import _, current_language, mark
from .page_cache import same_for_all_visitors
from .security import sign_in_required

blueprint = Blueprint("catalogue", __name__)

_PAGE_SIZE = 12
_REVIEWS = 5
_FILTERS = ("category", "level", "language")
ORDERS = {
    "popular": mark("Popular"),
    "newest": mark("Newest"),
    "rating": mark("Best rated"),
    "price": mark("Price: low to high"),
    "-price": mark("Price: high to low"),
}


@blueprint.get("/")
@same_for_all_visitors
def home() -> str:
    """Show the catalogue: searched, filtered and sorted by query parameters."""
    chosen = {name: request.args[name] for name in ("q", *_FILTERS, "sort") if request.args.get(name)}
    query: dict[str, Any] = {name: value for name, value in chosen.items() if name != "sort"}
    if request.args.get("free"):
        chosen["free"] = "1"
        query["free"] = True
    if chosen.get("sort") in ORDERS:
        query["sort"] = chosen["sort"]
    found = client().list_courses(limit=_PAGE_SIZE, facets=True, total=True, **query).page(request.args.get("cursor"))
    is_start = not chosen and "cursor" not in request.args
    return render_template("catalogue.html", found=found, chosen=chosen, orders=ORDERS, is_start=is_start)


@blueprint.get("/courses/<ref>")
@same_for_all_visitors
def course(ref: str) -> ResponseReturnValue:
    """Show a course with its outline, reviews, and what the visitor can do: buy, start or continue.

    A former slug leads to the present one, so that links and search engines follow.
    """
    shown = client().get_course(ref)
    if ref.lower() not in {shown.slug, shown.id}:
        return redirect(url_for("catalogue.course", ref=shown.slug), 301)
    access = client().get_own_access(shown.id) if is_signed_in() else None
    reviews = client().list_reviews(shown.id, limit=_REVIEWS).page().items
    return render_template(
        "course.html",
        course=shown,
        has_access=access is not None and access.access,
        instructors=_instructors([shown.instructor_id, *(shown.editor_ids or [])]),
        reviews=reviews,
        rating=_rating(shown, reviews),
        prerequisites=[client().get_course(each) for each in shown.prerequisites],
    )


def _instructors(user_ids: list[str]) -> list[models.Instructor]:
    """Return the public profiles of those who still teach and have a name."""
    found = []
    for user_id in user_ids:
        with suppress(errors.NotFound):
            found.append(client().get_instructor(user_id))
    return [each for each in found if each.name]


@blueprint.get("/instructors/<user_id>")
@same_for_all_visitors
def instructor(user_id: str) -> str:
    """Show an instructor with their courses on sale."""
    shown = client().get_instructor(user_id)
    courses = client().list_courses(instructor_id=user_id, limit=_PAGE_SIZE).page(request.args.get("cursor"))
    return render_template("instructor.html", instructor=shown, found=courses)


def _rating(course: models.Course, reviews: list[models.Review]) -> models.Rating | None:
    """Return the average rating, which only lists have."""
    if not reviews:
        return None
    items = client().list_courses(q=course.title, limit=10).page().items
    return next((each.rating for each in items if each.id == course.id), None)


@blueprint.post("/courses/<course_id>/enroll")
@sign_in_required
def enroll(course_id: str) -> ResponseReturnValue:
    """Enroll in a free course and open it."""
    client().create_enrollment(course_id, models.Enroll())
    return redirect(url_for("learning.course", course_id=course_id), 303)


@blueprint.post("/courses/<course_id>/review")
@sign_in_required
def review(course_id: str) -> ResponseReturnValue:
    """Store the rating of a learner."""
    text = request.form.get("text", "").strip()
    fields = models.ReviewFields(rating=request.form.get("rating", 0, int), text=text)
    client().put_review(course_id, fields)
    flash(_("Thank you for your review."))
    return redirect(url_for("learning.course", course_id=course_id), 303)


@blueprint.post("/courses/<course_id>/review/delete")
@sign_in_required
def delete_review(course_id: str) -> ResponseReturnValue:
    """Delete the review of a learner."""
    client().delete_own_review(course_id)
    flash(_("Your review was deleted."))
    return redirect(url_for("learning.finished", course_id=course_id), 303)


@blueprint.post("/courses/<course_id>/leave")
@sign_in_required
def leave(course_id: str) -> ResponseReturnValue:
    """Leave a course that the learner did not buy."""
    try:
        client().leave_course(course_id)
    except errors.Conflict:
        flash(_("A course that you bought cannot be left."), "problem")
    else:
        flash(_("You have left the course. Your progress is kept."))
    return redirect(url_for("learning.courses"), 303)


@blueprint.get("/plans")
@same_for_all_visitors
def plans() -> str:
    """Show the plans and bundles on sale, with their courses."""
    offers = [*client().list_plans()]
    bundles = [*client().list_bundles(limit=20).page().items]
    ids = {each for offer in (*offers, *bundles) for each in offer.course_ids}
    courses = {each: found for each in ids if (found := _course_or_none(each))}
    return render_template("plans.html", plans=offers, bundles=bundles, courses=courses)


def _course_or_none(course_id: str) -> models.Course | None:
    try:
        return client().get_course(course_id)
    except errors.NotFound:  # archived
        return None


@blueprint.get("/c/<code>")
def certificate_by_short_address(code: str) -> ResponseReturnValue:
    """Lead from the short address, which the QR code has, to the certificate."""
    return redirect(url_for("catalogue.certificate", code=code), 302)


@blueprint.get("/certificates/<code>")
def certificate(code: str) -> str:
    """Show a certificate to anyone who has its code, so that it can be verified."""
    shown = client().verify_certificate(code)
    return render_template("certificate.html", certificate=shown, language=current_language())


@blueprint.get("/certificates/<code>.pdf")
def certificate_document(code: str) -> ResponseReturnValue:
    """Return a certificate as PDF, in the language of the pages."""
    document = client().download_certificate(code, language=current_language())
    headers = {"Content-Disposition": f'attachment; filename="certificate-{code}.pdf"'}
    return Response(document, content_type="application/pdf", headers=headers)


@blueprint.get("/certificates/<code>.jwt")
def badge(code: str) -> ResponseReturnValue:
    """Return the Open Badge of a certificate, for wallets and portfolios."""
    headers = {"Content-Disposition": f'attachment; filename="badge-{code}.jwt"'}
    return Response(client().download_badge(code), content_type="text/plain; charset=utf-8", headers=headers)
