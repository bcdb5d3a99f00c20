"""``python -m tests.integration.contracts.freeze`` freezes the current messages as those of the last version.

Run it at each release. The frozen files represent processes of the last release, which send messages to current
processes during an upgrade. Between two releases, run it only to add tasks that no release contains yet.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import inspect as info

from celery_app import celery_app
from core.messaging.task_queue import Envelope
from workers.runtime.jobs import JobDefinition
from workers.runtime.tasks import TASKS

MESSAGES = Path(__file__).parent / "frozen" / "messages.json"
ENVELOPE = Path(__file__).parent / "frozen" / "envelope.json"

_SIMPLE = {
    info.BoolType: True,
    info.IntType: 1,
    info.FloatType: 1.5,
    info.StrType: "a",
    info.UUIDType: "01900000-0000-7000-8000-000000000001",
    info.DateTimeType: "2026-01-02T03:04:05Z",
    info.DateType: "2026-01-02",
    info.TimeType: "03:04:05",
    info.DecimalType: "1.00",
    info.BytesType: "YQ==",
}


def sample_of(kind: Any) -> Any:
    """Return a JSON value of the type ``kind`` with all its fields."""
    return _sample(info.type_info(kind))


def _sample(kind: info.Type) -> Any:  # noqa: C901 one case per kind of type
    match kind:
        case info.Metadata(type=inner):
            sample = _sample(inner)
        case info.UnionType(types=types):
            sample = _sample(next(each for each in types if not isinstance(each, info.NoneType)))
        case info.StructType(array_like=True, fields=fields):
            sample = [_sample(field.type) for field in fields]
        case info.StructType(fields=fields) | info.DataclassType(fields=fields) | info.TypedDictType(fields=fields):
            sample = {field.encode_name: _sample(field.type) for field in fields}
        case info.TupleType() | info.NamedTupleType():
            sample = [_sample(each) for each in _item_types(kind)]
        case info.ListType(item_type=item) | info.SetType(item_type=item) | info.VarTupleType(item_type=item):
            sample = [_sample(item)]
        case info.LiteralType(values=values):
            sample = values[0]
        case info.EnumType(cls=cls):
            sample = next(iter(cls)).value
        case info.StrType(min_length=int(length)):
            sample = "a" * length
        case info.IntType(ge=int(least)):
            sample = least
        case _:
            sample = _SIMPLE.get(type(kind), {})
    return sample


def _item_types(kind: info.TupleType | info.NamedTupleType) -> Iterable[info.Type]:
    return kind.item_types if isinstance(kind, info.TupleType) else [field.type for field in kind.fields]


def messages() -> dict[str, dict[str, Any]]:
    """Return one message per task that the gateway, the bridge or another task sends; events have their own schemas."""
    celery_app.loader.import_default_modules()
    return {
        name: {field: sample_of(call.types[field]) for field in call.fields}
        for name, call in sorted(TASKS.items())
        if not isinstance(call, JobDefinition) and not {"event", "event_id"} & set(call.fields)
    }


def envelope() -> dict[str, Any]:
    """Return an envelope with all its fields."""
    return sample_of(Envelope) | {
        "idempotency_claim": {"scope": "auth0|ann POST /v1/courses", "key": "k-1", "fingerprint": "f"},
        "event_headers": {"ce_type": "COURSE_COMPLETED", "ce_sequence": "1"},
    }


if __name__ == "__main__":
    for path, document in ((MESSAGES, messages()), (ENVELOPE, envelope())):
        path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
