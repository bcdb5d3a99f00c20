"""Shared parts of Stripe's objects: ids, lists, ``expand[]`` and the events that report a change.

Fields with a leading "_" are internal to the fake and never shown.
"""

import copy
import json
import secrets
import string
from typing import Any

from ops.fakes import webhook_sender
from ops.fakes.calls import Call
from ops.fakes.store import Document

from . import errors, forms

API_VERSION = "2026-10-28.endive"  # the version of stripe 16
ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    return f"{prefix}_{''.join(secrets.choice(ALPHABET) for _ in range(24))}"


def new(call: Call, kind: str, prefix: str, **fields: Any) -> Document:
    """Return a new, unsaved object of ``kind``."""
    head = {"id": new_id(prefix), "object": kind, "created": int(call.now), "livemode": False}
    return head | {"metadata": {}} | fields


def save(call: Call, document: Document) -> Document:
    return call.db.save(document["object"], document)


def get_or_404(call: Call, kind: str, object_id: str) -> Document:
    """Return the object that the path names. Raises 404 resource_missing."""
    document = call.db.get(object_id, kind)
    if document is None:
        raise errors.missing(kind, object_id)
    return document


def get_or_400(call: Call, kind: str, object_id: str, param: str) -> Document:
    """Return the object that a parameter names. Raises 400 resource_missing."""
    document = call.db.get(object_id, kind)
    if document is None:
        raise errors.missing(kind, object_id, param=param, status=400)
    return document


def public_view(document: Any) -> Any:
    """Return ``document`` without internal fields."""
    if isinstance(document, dict):
        return {name: public_view(value) for name, value in document.items() if not name.startswith("_")}
    return [public_view(value) for value in document] if isinstance(document, list) else document


def filters(call: Call, names: tuple[str, ...], *, refers: str = "payment_intent") -> Document:
    """Return the list filters in the message. Raises 400 resource_missing if one refers to an unknown object."""
    found = {name: call.message[name] for name in names if name in call.message}
    if refers in found:
        get_or_400(call, refers, found[refers], refers)
    return found


def emit(call: Call, kind: str, document: Document, **overrides: Any) -> Document:
    """Record the event ``kind`` with the current ``document`` and its webhook; ``overrides`` replaces fields."""
    event: Document = {
        "id": new_id("evt"),
        "object": "event",
        "api_version": API_VERSION,
        "created": int(call.now),
        "data": {"object": public_view(document)},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": call.request_id, "idempotency_key": call.key},
        "type": kind,
    } | overrides
    call.db.save("event", event)
    webhook_sender.add(call.db, kind, json.dumps(event, ensure_ascii=False), event["id"])
    return event


def page(call: Call, documents: list[Document], url: str) -> Document:
    """Return a page of ``documents`` (newest first) by ``limit``, ``starting_after``, ``ending_before``,
    ``created``.
    """
    limit = forms.integer(call.message, "limit", 10)
    if not 1 <= limit <= 100:
        raise errors.invalid("Invalid limit: must be between 1 and 100", "limit", "parameter_invalid_integer")
    found = [document for document in documents if _created_within(document, call.message.get("created"))]
    if before := call.message.get("ending_before"):
        newer = found[: _position(found, before, "ending_before")]
        chosen, more = newer[-limit:], len(newer) > limit
    else:
        after = call.message.get("starting_after")
        rest = found[_position(found, after, "starting_after") + 1 :] if after else found
        chosen, more = rest[:limit], len(rest) > limit
    return {"object": "list", "url": url, "has_more": more, "data": chosen}


def _position(documents: list[Document], object_id: str, param: str) -> int:
    for position, document in enumerate(documents):
        if document["id"] == object_id:
            return position
    raise errors.missing("object", object_id, param=param, status=400)


def _created_within(document: Document, bounds: Any) -> bool:
    if bounds is None:
        return True
    created = document["created"]
    if isinstance(bounds, str):
        return bool(created == int(bounds))
    tests = {"gt": created.__gt__, "gte": created.__ge__, "lt": created.__lt__, "lte": created.__le__}
    return all(tests[name](int(bound)) for name, bound in bounds.items() if name in tests)


def expanded(call: Call, document: Document, paths: list[str]) -> Document:
    """Return a copy of ``document`` in which the ids at ``paths`` are replaced by their objects."""
    document = copy.deepcopy(document)
    for path in paths:
        _expand(call, document, path.split("."))
    return document


def _expand(call: Call, node: Any, steps: list[str]) -> None:
    if isinstance(node, list):
        for element in node:
            _expand(call, element, steps)
        return
    if not steps or not isinstance(node, dict):
        return
    name, rest = steps[0], steps[1:]
    value = _expandable_list(call, node, name) if name not in node else node[name]
    if isinstance(value, str):
        value = call.db.get(value) or value
    node[name] = value
    _expand(call, value, rest)


def _expandable_list(call: Call, node: Document, name: str) -> Any:
    """Return a list that Stripe includes only when it is expanded."""
    if (node.get("object"), name) == ("checkout.session", "line_items"):
        return embedded_list(node["_line_items"], f"/v1/checkout/sessions/{node['id']}/line_items")
    if (node.get("object"), name) == ("charge", "refunds"):
        refunds = call.db.find("refund", charge=node["id"])
        return embedded_list(refunds, f"/v1/charges/{node['id']}/refunds")
    raise errors.invalid(f"This property cannot be expanded ({name}).", "expand")


def embedded_list(documents: list[Document], url: str) -> Document:
    return {"object": "list", "url": url, "has_more": False, "data": documents}
