"""Changes of the OpenAPI document that break clients, and those that do not."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from ops.openapi_changes import find_breaking_changes
from settings import ROOT

DOCUMENT = json.loads((ROOT / "docs" / "openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
Change = Callable[[dict[str, Any]], object]


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    return document["components"]["schemas"][name]


def operation(document: dict[str, Any], path: str, method: str) -> dict[str, Any]:
    return document["paths"][path][method]


BREAKING: dict[str, tuple[Change, str]] = {
    "operation removed": (lambda new: new["paths"]["/v1/orders"].pop("get"), "GET /v1/orders: removed"),
    "operation renamed": (
        lambda new: operation(new, "/v1/orders", "get").update(operationId="listOrders"),
        "GET /v1/orders: the operation listOwnOrders is named listOrders",
    ),
    "permission added": (
        lambda new: operation(new, "/v1/orders", "get").update({"x-permissions": ["orders:read"]}),
        "GET /v1/orders: requires the permission orders:read",
    ),
    "response field removed": (
        lambda new: schema(new, "Order")["properties"].pop("paid_at"),
        "Order: the field paid_at is removed",
    ),
    "response field optional": (
        lambda new: schema(new, "Order")["required"].remove("id"),
        "Order: the field id may be missing",
    ),
    "response field nullable": (
        lambda new: schema(new, "Order")["properties"]["id"].update(type=["string", "null"]),
        "Order.id: may now be null",
    ),
    "request field required": (
        lambda new: schema(new, "CheckoutRequest")["required"].append("receipt_email"),
        "CheckoutRequest: the field receipt_email is required",
    ),
    "request value removed": (
        lambda new: schema(new, "PaymentProvider")["enum"].remove("yookassa"),
        "PaymentProvider: no longer takes the value yookassa",
    ),
    "parameter required": (
        lambda new: operation(new, "/v1/courses", "get")["parameters"].append(
            {"in": "query", "name": "school", "required": True, "schema": {"type": "string"}}
        ),
        "GET /v1/courses: the query parameter school is required",
    ),
}
COMPATIBLE: dict[str, Change] = {
    "operation added": lambda new: new["paths"].update({"/v1/schools": {"get": {"operationId": "listSchools"}}}),
    "response field added": lambda new: schema(new, "Order")["properties"].update(tax={"type": "integer"}),
    "request field added": lambda new: schema(new, "CheckoutRequest")["properties"].update(gift={"type": "string"}),
    "response value added": lambda new: schema(new, "OrderStatus")["enum"].append("parked"),
}


@pytest.mark.parametrize(("change", "found"), BREAKING.values(), ids=BREAKING)
def test_breaking_change_is_found(change: Change, found: str):
    new = copy.deepcopy(DOCUMENT)
    change(new)
    assert find_breaking_changes(DOCUMENT, new) == [found]


@pytest.mark.parametrize("change", COMPATIBLE.values(), ids=COMPATIBLE)
def test_compatible_change_is_accepted(change: Change):
    new = copy.deepcopy(DOCUMENT)
    change(new)
    assert find_breaking_changes(DOCUMENT, new) == []
