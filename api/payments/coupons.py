"""Coupons and their limits."""

from typing import Any
from uuid import UUID

import marshmallow as ma
import msgspec
from flask import Response
from flask.views import MethodView

from api.auth import require_auth
from api.conditional_requests import CREATED_HEADERS, created, if_match, json_response, require_existing
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Currency, Schema, Timestamp, UtcDateTime, unique_items
from core.cache import CachedView
from models.commands import ChangeCoupon, CreateCoupon, ListCoupons, ShowCoupon
from models.commands.payments import CouponLimits, CouponTerms

from .blueprint import blp

_CODE = ma.validate.Regexp(r"[A-Za-z0-9_-]{3,40}\Z", error="3 to 40 letters, digits, hyphens and underscores.")
_MAX_PERCENT = 100


def _positive_int(**kwargs: Any) -> ma.fields.Int:
    return ma.fields.Int(strict=True, validate=ma.validate.Range(min=1, max=10**9), **kwargs)


class CouponLimitsSchema(Schema):
    max_redemptions = _positive_int(allow_none=True)
    max_per_user = _positive_int(allow_none=True)
    starts_at = UtcDateTime(allow_none=True)
    ends_at = UtcDateTime(allow_none=True)
    course_ids = ma.fields.List(
        ma.fields.UUID(),
        allow_none=True,
        validate=[ma.validate.Length(min=1, max=200), unique_items],
        metadata={"description": "Courses that the coupon applies to; null for all."},
    )

    @ma.validates_schema
    def _ends_after_it_starts(self, coupon: dict[str, Any], **_: Any) -> None:
        starts_at, ends_at = coupon.get("starts_at"), coupon.get("ends_at")
        if starts_at and ends_at and ends_at <= starts_at:
            raise ma.ValidationError("Must be later than starts_at.", "ends_at")


class CouponTermsSchema(CouponLimitsSchema):
    code = ma.fields.Str(required=True, validate=_CODE, metadata={"example": "AUTUMN15"})
    kind = ma.fields.Str(required=True, validate=ma.validate.OneOf(["percent", "fixed"]))
    value = _positive_int(required=True, metadata={"description": "Percentage for `percent`, minor units for `fixed`."})
    currency = Currency()

    @ma.validates_schema
    def _validate_kind(self, coupon: dict[str, Any], **_: Any) -> None:
        if coupon["kind"] == "percent" and coupon["value"] > _MAX_PERCENT:
            raise ma.ValidationError("At most 100.", "value")
        if (coupon["kind"] == "fixed") != ("currency" in coupon):
            raise ma.ValidationError("Required for fixed, not allowed for percent.", "currency")


class CouponSchema(Schema):
    id = ma.fields.UUID()
    code = ma.fields.Str()
    kind = ma.fields.Str()
    value = ma.fields.Int()
    currency = ma.fields.Str(allow_none=True)
    max_redemptions = ma.fields.Int(allow_none=True)
    max_per_user = ma.fields.Int(allow_none=True)
    starts_at = Timestamp(allow_none=True)
    ends_at = Timestamp(allow_none=True)
    course_ids = ma.fields.List(ma.fields.UUID(), allow_none=True)
    redeemed = ma.fields.Int()
    created_at = Timestamp()
    version = ma.fields.Int()


@blp.route("/coupons")
class Coupons(MethodView):
    @require_auth("payments:admin")
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listCoupons")
    @blp.response(200, page_schema(CouponSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List coupons

        Newest first.
        """
        return page_response(call(ListCoupons(**query)))

    @require_auth("payments:admin")
    @blp.arguments(CouponTermsSchema)
    @blp.doc(operationId="createCoupon")
    @blp.response(201, CouponSchema, headers=CREATED_HEADERS)
    def post(self, coupon: dict[str, Any]) -> Response:
        """Create a coupon

        Coupon codes are not case-sensitive.
        """
        view = call(
            CreateCoupon(
                terms=msgspec.convert(msgspec.to_builtins({**coupon, "code": coupon["code"].upper()}), CouponTerms)
            )
        )
        return created(view, f"/v1/coupons/{view['id']}")


@blp.route("/coupons/<uuid:coupon_id>")
class Coupon(MethodView):
    @require_auth("payments:admin")
    @blp.doc(operationId="getCoupon")
    @blp.response(200, CouponSchema)
    def get(self, coupon_id: UUID) -> Response:
        """Retrieve a coupon

        With the number of its redemptions.
        """
        return json_response(CachedView.from_view(call(ShowCoupon(coupon_id=coupon_id))))

    @require_auth("payments:admin")
    @require_existing(ShowCoupon)
    @if_match
    @blp.arguments(CouponLimitsSchema)
    @blp.doc(operationId="updateCoupon")
    @blp.response(200, CouponSchema)
    def patch(self, limits: dict[str, Any], coupon_id: UUID, *, expected_version: int) -> Response:
        """Update a coupon

        Changes its limits and dates; null removes one.
        """
        changed = call(
            ChangeCoupon(
                coupon_id=coupon_id,
                expected_version=expected_version,
                limits=msgspec.convert(msgspec.to_builtins(limits), CouponLimits),
            )
        )
        return json_response(CachedView.from_view(changed))
