"""OpenAPI description of the ``data`` of notifications: one type for each kind in models/notification_data.py."""

from typing import Any

import msgspec

from models.notification_data import DATA_BY_KIND

_REFERENCE = "#/components/schemas/{name}"
_SHOWN_IN = ("Notification", "NotificationDelivery")


def add_notification_data(spec: dict[str, Any]) -> None:
    """Add the types of ``data`` to an OpenAPI document, and refer to them where notifications are answered."""
    _, types = msgspec.json.schema_components(list(DATA_BY_KIND.values()), ref_template=_REFERENCE)
    for each in types.values():
        del each["title"]
        for part in each["properties"].values():
            part.pop("default", None)  # of data that an earlier version has written; every field is sent
            if values := part.pop("enum", []):
                part |= {"type": "string", "const": values[0]}
        each["required"] = list(each["properties"])
    mapping = {kind: _REFERENCE.format(name=type_.__name__) for kind, type_ in DATA_BY_KIND.items()}
    any_data = {
        "description": "What the notification is about, by its `kind`. Later versions may add kinds.",
        "oneOf": [{"$ref": reference} for reference in mapping.values()],
        "discriminator": {"propertyName": "kind", "mapping": mapping},
    }
    schemas = spec["components"]["schemas"]
    schemas |= types | {"NotificationData": any_data}
    for name in _SHOWN_IN:
        schemas[name]["properties"]["data"] = {"$ref": _REFERENCE.format(name="NotificationData")}
