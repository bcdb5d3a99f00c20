"""Subscription plans."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from flask.views import MethodView

from api.auth import public, requires
from api.etags import existing, if_match, respond
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.schemas import Flag, Line, Money, Schema
from models.cache import Stored

from .blueprint import blp, is_sales_staff, respond_private


class PlanPriceSchema(Money):
    amount_minor = ma.fields.Int(strict=True, required=True, validate=ma.validate.Range(min=1, max=10**12))


class PlanRequestSchema(Schema):
    name = Line(required=True, longest=128)
    price = ma.fields.Nested(PlanPriceSchema, required=True)
    interval = ma.fields.Str(required=True, validate=ma.validate.OneOf(["month", "year"]))
    trial_days = ma.fields.Int(strict=True, load_default=0, validate=ma.validate.Range(min=0, max=365))
    course_ids = ma.fields.List(ma.fields.UUID(), required=True, validate=ma.validate.Length(min=1, max=100))

    @ma.validates("course_ids")
    def _each_once(self, course_ids: list[UUID], **_: Any) -> None:
        if len(set(course_ids)) < len(course_ids):
            raise ma.ValidationError("Each course once.")


class PlanChangeSchema(Schema):
    name = Line(longest=128)
    trial_days = ma.fields.Int(strict=True, validate=ma.validate.Range(min=0, max=365))
    on_sale = Flag(metadata={"description": "false closes the plan to new subscribers."})


class PlanSchema(Schema):
    id = ma.fields.UUID()
    name = ma.fields.Str()
    price = ma.fields.Nested(Money)
    interval = ma.fields.Str(metadata={"example": "month"})
    trial_days = ma.fields.Int()
    course_ids = ma.fields.List(ma.fields.UUID())
    on_sale = ma.fields.Bool()
    version = ma.fields.Int()


@blp.route("/plans")
class Plans(MethodView):
    @public
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, page_of(PlanSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List plans on sale"""
        return page(ask("payments.list_plans", **query))

    @requires("payments:admin")
    @blp.arguments(PlanRequestSchema)
    @blp.response(201, PlanSchema)
    def post(self, plan: dict[str, Any]) -> Any:
        """Create a plan

        A plan gives access to its courses for a monthly or yearly price.
        """
        price = plan.pop("price")
        return ask("payments.create_plan", **plan, **price)


@blp.route("/plans/<uuid:plan_id>")
class Plan(MethodView):
    @public
    @blp.response(200, PlanSchema)
    def get(self, plan_id: UUID) -> Response:
        """Retrieve a plan

        Plans that are not on sale are visible to callers with `payments:admin` only.
        """
        return respond_private(ask("payments.show_plan", plan_id=plan_id, for_staff=is_sales_staff()))

    @requires("payments:admin")
    @existing("payments.show_plan", for_staff=True)
    @if_match
    @blp.arguments(PlanChangeSchema)
    @blp.response(200, PlanSchema)
    def patch(self, changes: dict[str, Any], plan_id: UUID, *, expected_version: int) -> Response:
        """Update a plan

        Applies to new subscriptions; existing subscribers keep their terms.
        """
        changed = ask("payments.change_plan", plan_id=plan_id, expected_version=expected_version, changes=changes)
        return respond(Stored.of(changed))
