"""Subscription plans."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from flask.views import MethodView

from api.auth import public, require_auth
from api.conditional_requests import CREATED_HEADERS, created, if_match, json_response, require_existing
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Flag, Line, Money, Schema, unique_items
from core.cache import CachedView
from models.commands import ChangePlan, CreatePlan, ListPlans, ShowPlan

from .blueprint import blp, caller_specific_response, is_sales_staff


class PlanPriceSchema(Money):
    amount_minor = ma.fields.Int(strict=True, required=True, validate=ma.validate.Range(min=1, max=10**12))


class PlanRequestSchema(Schema):
    name = Line(required=True, max_length=128)
    price = ma.fields.Nested(PlanPriceSchema, required=True)
    interval = ma.fields.Str(required=True, validate=ma.validate.OneOf(["month", "year"]))
    trial_days = ma.fields.Int(strict=True, load_default=0, validate=ma.validate.Range(min=0, max=365))
    course_ids = ma.fields.List(
        ma.fields.UUID(), required=True, validate=[ma.validate.Length(min=1, max=100), unique_items]
    )


class PlanChangeSchema(Schema):
    name = Line(max_length=128)
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
    @blp.doc(operationId="listPlans")
    @blp.response(200, page_schema(PlanSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List plans on sale

        With the courses that each gives access to, its price and its trial.
        """
        return page_response(call(ListPlans(**query)))

    @require_auth("payments:admin")
    @blp.arguments(PlanRequestSchema)
    @blp.doc(operationId="createPlan")
    @blp.response(201, PlanSchema, headers=CREATED_HEADERS)
    def post(self, plan: dict[str, Any]) -> Response:
        """Create a plan

        A plan gives access to its courses for a monthly or yearly price.
        """
        price = plan.pop("price")
        view = call(CreatePlan(**plan, **price))
        return created(view, f"/v1/plans/{view['id']}")


@blp.route("/plans/<uuid:plan_id>")
class Plan(MethodView):
    @public
    @blp.doc(operationId="getPlan")
    @blp.response(200, PlanSchema)
    def get(self, plan_id: UUID) -> Response:
        """Retrieve a plan

        Plans that are not on sale are visible to callers with `payments:admin` only.
        """
        return caller_specific_response(call(ShowPlan(plan_id=plan_id, for_staff=is_sales_staff())))

    @require_auth("payments:admin")
    @require_existing(ShowPlan, for_staff=True)
    @if_match
    @blp.arguments(PlanChangeSchema)
    @blp.doc(operationId="updatePlan")
    @blp.response(200, PlanSchema)
    def patch(self, changes: dict[str, Any], plan_id: UUID, *, expected_version: int) -> Response:
        """Update a plan

        Applies to new subscriptions; existing subscribers keep their terms.
        """
        changed = call(ChangePlan(plan_id=plan_id, expected_version=expected_version, changes=changes))
        return json_response(CachedView.from_view(changed))
