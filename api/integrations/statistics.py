"""Statistics of a course for its author and for staff, and of the shop for staff: JSON for charts, or CSV."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response, jsonify
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.blueprints import Blueprint
from api.content_negotiation import CSV, JSON, media_types, negotiate, varied
from api.courses.blueprint import course_caller, get_taught_course, require_own_course
from api.rpc import call
from api.schemas import Day, Schema
from models.commands import ShowCourse, ShowCourseStatistics, ShowShopStatistics

blp = Blueprint("statistics", __name__, url_prefix="/v1", description="Statistics of courses and of the shop.")

_DAYS_DEFAULT, _DAYS_MAX = 30, 366


class StatisticsQuery(Schema):
    since = Day(load_default=None, metadata={"description": "First day (UTC); by default 30 days ago."})
    until = Day(load_default=None, metadata={"description": "Last day (UTC); by default today."})

    @ma.post_load
    def _complete(self, query: dict[str, Any], **_: Any) -> dict[str, Any]:
        until = query["until"] or datetime.now(UTC).date()
        since = query["since"] or until - timedelta(days=_DAYS_DEFAULT - 1)
        if not 0 <= (until - since).days < _DAYS_MAX:
            raise ma.ValidationError(f"Must be at most {_DAYS_MAX} days before until, and not after.", "since")
        return {"since": since, "until": until}


class RevenueSchema(Schema):
    currency = ma.fields.Str()
    sales = ma.fields.Int(metadata={"description": "Number of payments."})
    sales_minor = ma.fields.Int(metadata={"description": "Payments, in the minor unit of the currency."})
    refunds_minor = ma.fields.Int(metadata={"description": "Refunds, in the minor unit of the currency."})
    revenue_minor = ma.fields.Int(metadata={"description": "Payments without refunds."})


class CourseDaySchema(Schema):
    day = ma.fields.Str(metadata={"format": "date", "description": "The day in UTC."})
    enrollments = ma.fields.Int(metadata={"description": "New learners."})
    active_learners = ma.fields.Int(metadata={"description": "Learners who completed or reopened a lesson."})
    lessons_completed = ma.fields.Int(metadata={"description": "Completed lessons."})
    completions = ma.fields.Int(metadata={"description": "Learners who completed the course."})
    ratings = ma.fields.Int(metadata={"description": "Ratings."})
    revenue = ma.fields.List(ma.fields.Nested(RevenueSchema))


class LessonStatisticsSchema(Schema):
    lesson_id = ma.fields.UUID()
    title = ma.fields.Str()
    completed = ma.fields.Int(metadata={"description": "Learners who completed it."})
    completed_percent = ma.fields.Int(metadata={"description": "Their share of all learners, in percent."})
    quiz_attempts = ma.fields.Int(metadata={"description": "Attempts at its quiz."})
    quiz_passed = ma.fields.Int(metadata={"description": "Attempts that passed."})
    quiz_average_percent = ma.fields.Int(allow_none=True, metadata={"description": "Average score; null without any."})


class CourseStatisticsSchema(Schema):
    course_id = ma.fields.UUID()
    enrollments = ma.fields.Int(metadata={"description": "All learners."})
    completions = ma.fields.Int(metadata={"description": "Learners who completed the course."})
    completion_percent = ma.fields.Int(metadata={"description": "Their share of all learners, in percent."})
    average_completion_days = ma.fields.Float(
        allow_none=True, metadata={"description": "Days from start to completion on average; null without any."}
    )
    ratings = ma.fields.Int(metadata={"description": "Learners who rated the course."})
    rating_average = ma.fields.Float(allow_none=True, metadata={"description": "Average of 1 to 5; null without any."})
    revenue = ma.fields.List(ma.fields.Nested(RevenueSchema), metadata={"description": "In total, by currency."})
    days = ma.fields.List(ma.fields.Nested(CourseDaySchema), metadata={"description": "Every day of the period."})
    lessons = ma.fields.List(
        ma.fields.Nested(LessonStatisticsSchema), metadata={"description": "In their order: where learners stop."}
    )


class ShopDaySchema(Schema):
    day = ma.fields.Str(metadata={"format": "date", "description": "The day in UTC."})
    enrollments = ma.fields.Int(metadata={"description": "New enrollments in all courses."})
    completions = ma.fields.Int(metadata={"description": "Completed courses."})
    revenue = ma.fields.List(ma.fields.Nested(RevenueSchema))


class ShopStatisticsSchema(Schema):
    revenue = ma.fields.List(ma.fields.Nested(RevenueSchema), metadata={"description": "Of the period, by currency."})
    days = ma.fields.List(ma.fields.Nested(ShopDaySchema), metadata={"description": "Every day of the period."})


@blp.route("/courses/<uuid:course_id>/statistics")
class CourseStatistics(MethodView):
    @require_auth("courses:write")
    @require_own_course
    @blp.arguments(StatisticsQuery, location="query")
    @blp.doc(operationId="getCourseStatistics", **media_types(CSV))
    @blp.response(200, CourseStatisticsSchema)
    def get(self, period: dict[str, date], course_id: UUID) -> Response:
        """Retrieve the statistics of a course

        Enrollments, active learners, completions, ratings and revenue by day; in total also the completion of each
        lesson and its quiz. For the author and, with `courses:admin`, of any course. Some seconds behind.
        `Accept: text/csv` returns the days as CSV.
        """
        get_taught_course(course_id)
        counted = call(ShowCourseStatistics(course_id=course_id, **period))
        days = [_course_day(day) for day in counted["days"]]
        if negotiate(JSON, CSV) == CSV:
            return varied(_csv(days), ["en"])
        course = call(ShowCourse(ref=str(course_id), caller=course_caller(current_caller())))
        lessons = [lesson for section in course["sections"] for lesson in section["lessons"]]
        shown = {"course_id": course_id, **_totals(counted), "days": days}
        shown["lessons"] = [_lesson(each, counted, learners=shown["enrollments"]) for each in lessons]
        return varied(jsonify(CourseStatisticsSchema().dump(shown)), ["en"])


@blp.route("/statistics")
class ShopStatistics(MethodView):
    @require_auth("payments:read")
    @blp.arguments(StatisticsQuery, location="query")
    @blp.doc(operationId="getShopStatistics", **media_types(CSV))
    @blp.response(200, ShopStatisticsSchema)
    def get(self, period: dict[str, date]) -> Response:
        """Retrieve the statistics of the shop

        Payments, refunds, enrollments and completions of all courses by day. Some seconds behind. The ledger
        (`GET /v1/ledger/entries`) also has fees and disputes. `Accept: text/csv` returns the days as CSV.
        """
        days = [_shop_day(day) for day in call(ShowShopStatistics(**period))["days"]]
        if negotiate(JSON, CSV) == CSV:
            return varied(_csv(days), ["en"])
        return varied(jsonify(ShopStatisticsSchema().dump({"days": days, "revenue": _sum(days)})), ["en"])


def _course_day(day: dict[str, Any]) -> dict[str, Any]:
    counts = day["counts"]
    return {
        "day": day["day"],
        "enrollments": counts.get("enrollment", 0),
        "active_learners": counts.get("active", 0),
        "lessons_completed": counts.get("lesson", 0),
        "completions": counts.get("completion", 0),
        "ratings": counts.get("rating", 0),
        "revenue": _revenue(day["money"]),
    }


def _shop_day(day: dict[str, Any]) -> dict[str, Any]:
    counts = day["counts"]
    return {
        "day": day["day"],
        "enrollments": counts.get("enrollment", 0),
        "completions": counts.get("completion", 0),
        "revenue": _revenue(day["money"]),
    }


def _revenue(money: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    return [
        {
            "currency": currency,
            "sales": sums.get("sale", 0),
            "sales_minor": sums.get("sale_value", 0),
            "refunds_minor": sums.get("refund_value", 0),
            "revenue_minor": sums.get("sale_value", 0) - sums.get("refund_value", 0),
        }
        for currency, sums in sorted(money.items())
    ]


def _sum(days: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the revenue of all days together, by currency."""
    sums: dict[str, dict[str, Any]] = {}
    for each in (each for day in days for each in day["revenue"]):
        total = sums.setdefault(each["currency"], dict.fromkeys(each, 0) | {"currency": each["currency"]})
        for name in ("sales", "sales_minor", "refunds_minor", "revenue_minor"):
            total[name] += each[name]
    return [sums[currency] for currency in sorted(sums)]


def _totals(counted: dict[str, Any]) -> dict[str, Any]:
    totals = counted["totals"]
    learners, completions, ratings = (totals.get(name, 0) for name in ("enrollment", "completion", "rating"))
    seconds = totals.get("completion_value")
    return {
        "enrollments": learners,
        "completions": completions,
        "completion_percent": _percent(completions, learners),
        "average_completion_days": round(seconds / completions / 86400, 1) if seconds and completions else None,
        "ratings": ratings,
        "rating_average": round(totals["rating_value"] / ratings, 2) if ratings else None,
        "revenue": _revenue(counted["money"]),
    }


def _lesson(lesson: dict[str, Any], counted: dict[str, Any], *, learners: int) -> dict[str, Any]:
    sums = counted["lessons"].get(lesson["id"], {})
    completed, attempts = sums.get("lesson", 0), sums.get("attempt", 0)
    return {
        "lesson_id": lesson["id"],
        "title": lesson["title"],
        "completed": completed,
        "completed_percent": _percent(completed, learners),
        "quiz_attempts": attempts,
        "quiz_passed": sums.get("pass", 0),
        "quiz_average_percent": round(sums["attempt_value"] / attempts) if attempts else None,
    }


def _percent(part: int, whole: int) -> int:
    return min(100, 100 * part // whole) if whole else 0


def _csv(days: list[dict[str, Any]]) -> Response:
    """Return a table with a row for each day, and columns for the revenue in each currency."""
    currencies = sorted({each["currency"] for day in days for each in day["revenue"]})
    counts = [name for name in days[0] if name != "revenue"]
    money = ["sales_minor", "refunds_minor", "revenue_minor"]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow([*counts, *(f"{name}_{currency}" for currency in currencies for name in money)])
    for day in days:
        sums = {each["currency"]: each for each in day["revenue"]}
        amounts = [sums.get(currency, {}).get(name, 0) for currency in currencies for name in money]
        writer.writerow([*(day[name] for name in counts), *amounts])
    return Response(table.getvalue(), content_type=f"{CSV}; charset=utf-8")
