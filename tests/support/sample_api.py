"""A gateway with routes of a fictional service, which show the behaviour common to all routes; see ``app``."""

from typing import Any

import marshmallow as ma
import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask.views import MethodView

from api import create_app
from api.auth import current_caller, optional_caller, public, raw_webhook, require_auth
from api.blueprints import Blueprint
from api.conditional_requests import if_match
from api.rate_limits import PAYMENT
from api.schemas import Flag, Money, Schema
from api.view_attributes import set_existence_check
from models.errors import NotFound


class ThingSchema(Schema):
    price = ma.fields.Nested(Money, required=True)
    name = ma.fields.Str()
    shiny = Flag()
    parts = ma.fields.List(ma.fields.Nested("ThingSchema"))


class ThingQuery(Schema):
    limit = ma.fields.Int()
    q = ma.fields.Str()


def require_thing(*, thing_id: str, **_: Any) -> None:
    if thing_id == "missing":
        raise NotFound("thing", thing_id)


def with_existence_check(view):
    set_existence_check(view, require_thing)
    return view


def make_things() -> Blueprint:
    blp = Blueprint("things", __name__, url_prefix="/v1", description="Things.")

    @blp.route("/things")
    class Things(MethodView):
        @public
        @blp.arguments(ThingQuery, location="query")
        def get(self, query: dict[str, Any]) -> Any:
            caller = optional_caller()
            return {"query": query, "visitor": caller and caller.sub}

        @require_auth()
        @blp.arguments(ThingSchema)
        def post(self, thing: dict[str, Any]) -> Any:
            return thing

    @blp.route("/things/<thing_id>")
    class Thing(MethodView):
        @require_auth("things:write")
        @with_existence_check
        @if_match
        @blp.arguments(ThingSchema)
        def put(self, thing: dict[str, Any], thing_id: str, *, expected_version: int) -> Any:  # noqa: ARG002
            return thing

    @blp.route("/things/<thing_id>/purchase")
    class Purchase(MethodView):
        @require_auth(idempotency_key=True, limit=PAYMENT)
        def post(self, thing_id: str) -> Any:
            return {"id": thing_id}

    @blp.route("/things/machines")
    class Machines(MethodView):
        @require_auth("things:write", machines=True)
        def get(self) -> Any:
            return {"sub": current_caller().sub}

    @blp.route("/things/crash")
    class Crash(MethodView):
        @public
        def get(self) -> Any:
            raise RuntimeError("the password is hunter2")

    @blp.route("/things/hook")
    class Hook(MethodView):
        @raw_webhook
        def post(self) -> Any:
            return {}

    return blp


@pytest.fixture(scope="session")
def app() -> Flask:
    app = create_app()
    app.register_blueprint(make_things())
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
