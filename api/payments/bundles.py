"""Bundles: several courses sold at one price."""

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


class Price(Money):
    """A price above zero: bundles cannot be free."""

    amount_minor = ma.fields.Int(strict=True, required=True, validate=ma.validate.Range(min=1, max=10**12))


class BundleChangesSchema(Schema):
    title = Line()
    price = ma.fields.Nested(Price)
    course_ids = ma.fields.List(ma.fields.UUID(), validate=ma.validate.Length(min=1, max=50))
    on_sale = Flag()

    @ma.validates("course_ids")
    def _each_once(self, course_ids: list[UUID], **_: Any) -> None:
        if len(set(course_ids)) < len(course_ids):
            raise ma.ValidationError("Each course once.")


class BundleRequestSchema(BundleChangesSchema):
    title = Line(required=True)
    price = ma.fields.Nested(Price, required=True)
    course_ids = ma.fields.List(ma.fields.UUID(), required=True, validate=ma.validate.Length(min=1, max=50))

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
    @blp.response(200, page_of(BundleSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List bundles on sale

        Newest first.
        """
        return page(ask("payments.list_bundles", **query))

    @requires("payments:admin")
    @blp.arguments(BundleRequestSchema)
    @blp.response(201, BundleSchema)
    def post(self, bundle: dict[str, Any]) -> Any:
        """Create a bundle

        A bundle sells several courses at one price.
        """
        return ask("payments.compose_bundle", fields=_flat(bundle))


@blp.route("/bundles/<uuid:bundle_id>")
class Bundle(MethodView):
    @public
    @blp.response(200, BundleSchema)
    def get(self, bundle_id: UUID) -> Response:
        """Retrieve a bundle

        Bundles that are not on sale are visible to callers with `payments:admin` only.
        """
        return respond_private(ask("payments.show_bundle", bundle_id=bundle_id, for_staff=is_sales_staff()))

    @requires("payments:admin")
    @existing("payments.show_bundle", for_staff=True)
    @if_match
    @blp.arguments(BundleChangesSchema)
    @blp.response(200, BundleSchema)
    def patch(self, changes: dict[str, Any], bundle_id: UUID, *, expected_version: int) -> Response:
        """Update a bundle

        Changes its fields, or takes it off sale with `on_sale: false`.
        """
        changed = ask(
            "payments.change_bundle", bundle_id=bundle_id, expected_version=expected_version, fields=_flat(changes)
        )
        return respond(Stored.of(changed))


def _flat(bundle: dict[str, Any]) -> dict[str, Any]:
    price = bundle.get("price", {})
    return {**{name: value for name, value in bundle.items() if name != "price"}, **price}
