"""Bundles: several courses sold at one price."""

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
from models.commands import ChangeBundle, CreateBundle, ListBundles, ShowBundle

from .blueprint import blp, caller_specific_response, is_sales_staff


class Price(Money):
    """A price above zero: bundles cannot be free."""

    amount_minor = ma.fields.Int(strict=True, required=True, validate=ma.validate.Range(min=1, max=10**12))


class BundleChangesSchema(Schema):
    title = Line()
    price = ma.fields.Nested(Price)
    course_ids = ma.fields.List(ma.fields.UUID(), validate=[ma.validate.Length(min=1, max=50), unique_items])
    on_sale = Flag()


class BundleRequestSchema(BundleChangesSchema):
    title = Line(required=True)
    price = ma.fields.Nested(Price, required=True)
    course_ids = ma.fields.List(
        ma.fields.UUID(), required=True, validate=[ma.validate.Length(min=1, max=50), unique_items]
    )

    class Meta(BundleChangesSchema.Meta):
        exclude = ("on_sale",)


class BundleSchema(Schema):
    id = ma.fields.UUID()
    title = ma.fields.Str()
    price = ma.fields.Nested(Money)
    course_ids = ma.fields.List(ma.fields.UUID())
    on_sale = ma.fields.Bool()
    version = ma.fields.Int()


@blp.route("/bundles")
class Bundles(MethodView):
    @public
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listBundles")
    @blp.response(200, page_schema(BundleSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List bundles on sale

        Newest first.
        """
        return page_response(call(ListBundles(**query)))

    @require_auth("payments:admin")
    @blp.arguments(BundleRequestSchema)
    @blp.doc(operationId="createBundle")
    @blp.response(201, BundleSchema, headers=CREATED_HEADERS)
    def post(self, bundle: dict[str, Any]) -> Response:
        """Create a bundle

        A bundle sells several courses at one price.
        """
        view = call(CreateBundle(fields=_flatten_price(bundle)))
        return created(view, f"/v1/bundles/{view['id']}")


@blp.route("/bundles/<uuid:bundle_id>")
class Bundle(MethodView):
    @public
    @blp.doc(operationId="getBundle")
    @blp.response(200, BundleSchema)
    def get(self, bundle_id: UUID) -> Response:
        """Retrieve a bundle

        Bundles that are not on sale are visible to callers with `payments:admin` only.
        """
        return caller_specific_response(call(ShowBundle(bundle_id=bundle_id, for_staff=is_sales_staff())))

    @require_auth("payments:admin")
    @require_existing(ShowBundle, for_staff=True)
    @if_match
    @blp.arguments(BundleChangesSchema)
    @blp.doc(operationId="updateBundle")
    @blp.response(200, BundleSchema)
    def patch(self, changes: dict[str, Any], bundle_id: UUID, *, expected_version: int) -> Response:
        """Update a bundle

        Changes its fields, or takes it off sale with `on_sale: false`.
        """
        changed = call(
            ChangeBundle(bundle_id=bundle_id, expected_version=expected_version, fields=_flatten_price(changes))
        )
        return json_response(CachedView.from_view(changed))


def _flatten_price(bundle: dict[str, Any]) -> dict[str, Any]:
    price = bundle.get("price", {})
    return {**{name: value for name, value in bundle.items() if name != "price"}, **price}
