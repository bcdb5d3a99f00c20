"""The description of a course: texts, address, price, cover, and the courses to complete first."""

from decimal import Decimal, InvalidOperation
from typing import Any, cast

from coursebus import errors, models
from flask import flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from core.money import decimal_places, to_decimal
from web.api import client
from web.formats import CATEGORIES, LANGUAGE_NAMES, LEVELS
from web.language import _

from .blueprint import authors_only, blueprint, course_page, saved, working_copy
from .forms import Current, Form, save
from .uploads import ACCEPTED, RefusedUpload, receive

_FIELDS = ("title", "slug", "summary", "description", "category", "level", "language", "tags", "price", "currency")
_NAMES = (*_FIELDS, "sequential")
_PLACES = {"/price": "price", "slug_taken": "slug"}
_CURRENCY_LENGTH = 3
_PRICE_MAX = 10**12  # minor units, as in the API


class CourseValues:
    """The values of a form as the API takes them."""

    def __init__(self, form: Form) -> None:
        self.form = form

    @property
    def price(self) -> models.Money | None:
        """Return the price; None if amount or currency is none."""
        currency = self.form["currency"].upper()
        try:
            amount = Decimal(self.form["price"].replace(",", ".").replace(" ", "") or "0")
            minor = amount.scaleb(decimal_places(currency))
            is_amount = 0 <= minor <= _PRICE_MAX and minor == minor.to_integral()  # NaN raises InvalidOperation
        except (InvalidOperation, ValueError):
            return None
        if len(currency) != _CURRENCY_LENGTH or not is_amount:
            return None
        return models.Money(amount_minor=int(minor), currency=currency)

    def new(self) -> models.CourseFields:
        """Return the fields of a new course, whose price is valid."""
        form = self.form
        optional: dict[str, Any] = {"summary": form["summary"]} if form["summary"] else {}
        return models.CourseFields(
            title=form["title"],
            category=form["category"],
            level=cast("models.CourseLevel", form["level"]),
            language=form["language"],
            price=cast("models.Money", self.price),
            **optional,
        )

    def changes(self, stored: dict[str, str]) -> models.CourseChanges:
        """Return the fields that differ from what is stored: a draft may lack what no change may take away."""
        changed: dict[str, Any] = {
            name: self.form[name] for name in _FIELDS if self.form[name] != stored[name] and name not in _CONVERTED
        }
        if self.form["tags"] != stored["tags"]:
            changed["tags"] = [each for part in self.form["tags"].split(",") if (each := part.strip().lower())]
        if (self.form["price"], self.form["currency"]) != (stored["price"], stored["currency"]):
            changed["price"] = self.price
        if self.form["sequential"] != stored["sequential"]:
            changed["sequential"] = bool(self.form["sequential"])
        return models.CourseChanges(**changed)


_CONVERTED = {"tags", "price", "currency", "sequential"}


def _values(course: models.Course) -> dict[str, str]:
    values = {name: str(getattr(course, name)) for name in _FIELDS if name not in _CONVERTED}
    price = f"{to_decimal(course.price.amount_minor, course.price.currency):f}"
    return {
        **values,
        "tags": ", ".join(course.tags),
        "price": price,
        "currency": course.price.currency,
        "sequential": "on" if course.sequential else "",
    }


def _read(course_id: str) -> Current:
    course = working_copy(course_id)
    return Current(course.version, _values(course), course)


@blueprint.get("/<course_id>")
@authors_only
def details(course_id: str) -> ResponseReturnValue:
    """Show the forms of the description."""
    course = working_copy(course_id)
    return _page(course, Form.of(_values(course)))


@blueprint.post("/<course_id>")
@authors_only
def change_details(course_id: str) -> ResponseReturnValue:
    """Save the description, or show how its Markdown looks."""
    form = Form.posted(_NAMES)
    if request.form.get("action") == "preview":
        return _page(working_copy(course_id), form, preview=form["description"])
    if CourseValues(form).price is None:
        form.problems["price"] = _("A number, such as 49.00, and the code of a currency, such as EUR.")
    elif save(
        form,
        lambda: _read(course_id),
        lambda current: client().update_course(
            course_id, CourseValues(form).changes(dict(current.values)), if_match=current.version
        ),
        _PLACES,
    ):
        return saved(url_for("teach.details", course_id=course_id))
    return _page(working_copy(course_id), form), 422


def _page(course: models.Course, form: Form, **values: Any) -> str:
    return course_page(
        "details.html",
        course,
        form=form,
        categories=CATEGORIES,
        levels=LEVELS,
        languages=LANGUAGE_NAMES,
        accepted=ACCEPTED,
        prerequisites=[_slug_of(each) for each in course.prerequisites],
        **values,
    )


def _slug_of(course_id: str) -> str:
    try:
        return client().get_course(course_id).slug
    except errors.NotFound:  # archived since
        return course_id


@blueprint.post("/<course_id>/cover")
@authors_only
def change_cover(course_id: str) -> ResponseReturnValue:
    """Replace the cover by an uploaded picture, or remove it."""
    course = working_copy(course_id)
    back = url_for("teach.details", course_id=course_id, _anchor="cover")
    if request.form.get("action") == "remove":
        client().update_course(course_id, models.CourseChanges(cover_url=None), if_match=course)
        return saved(back, _("The cover was removed."))
    try:
        file_id = receive(course_id, "cover")
    except RefusedUpload as refusal:
        flash(str(refusal), "problem")
        return redirect(back, 303)
    # Only the cover is changed, so a change of other fields since the page was loaded is no conflict.
    client().update_course(course_id, models.CourseChanges(cover_file_id=file_id), if_match=working_copy(course_id))
    return saved(back, _("The cover was saved. It is on sale with the next version."))


@blueprint.post("/<course_id>/prerequisites")
@authors_only
def change_prerequisites(course_id: str) -> ResponseReturnValue:
    """Set the courses that learners must complete first, named by their addresses."""
    back = url_for("teach.details", course_id=course_id, _anchor="prerequisites")
    required = []
    for name in request.form.get("courses", "").replace(",", " ").split():
        slug = name.rstrip("/").rsplit("/", 1)[-1]
        try:
            required.append(client().get_course(slug).id)
        except errors.NotFound:
            flash(_("There is no course %(name)s.") % {"name": slug}, "problem")
            return redirect(back, 303)
    body = models.Prerequisites(course_ids=list(dict.fromkeys(required)))
    client().set_prerequisites(course_id, body, if_match=request.form.get("version", 0, int))
    return saved(back)
