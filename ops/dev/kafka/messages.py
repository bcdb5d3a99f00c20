"""The requests that the broker answers, with their schemas: https://kafka.apache.org/protocol#protocol_api_keys.

Clients use the highest version that both sides know. The broker knows one version of each request, the last one before
it became flexible where that is enough; it announces all earlier ones too, because librdkafka derives from them what a
broker can do.
"""

from dataclasses import dataclass
from functools import cached_property

from .wire import Decode, Encode, Schema, Type, decoder, encoder

_I8, _I16, _I32, _I64 = Type.INT8, Type.INT16, Type.INT32, Type.INT64
_TEXT, _BYTES, _UUID = Type.STRING, Type.BYTES, Type.UUID


@dataclass(frozen=True)
class Api:
    """A kind of request in the one version that is answered."""

    key: int
    version: int
    request: Schema
    response: Schema
    flexible: bool = False

    @cached_property
    def decode_request(self) -> Decode:
        return decoder(self.request, flexible=self.flexible)

    @cached_property
    def encode_response(self) -> Encode:
        return encoder(self.response, flexible=self.flexible)


def _by_topic(**partition: Schema) -> Schema:
    return [{"name": _TEXT, "partitions": [partition]}]


_OUTCOME: dict[str, Schema] = {"throttle_ms": _I32, "error": _I16}
_MEMBER: dict[str, Schema] = {"group": _TEXT, "generation": _I32, "member_id": _TEXT}

PRODUCE = Api(
    *(0, 7),
    {
        "transactional_id": _TEXT,
        "acks": _I16,
        "timeout_ms": _I32,
        "topics": _by_topic(index=_I32, records=_BYTES),
    },
    {
        "topics": _by_topic(index=_I32, error=_I16, base_offset=_I64, append_time=_I64, log_start=_I64),
        "throttle_ms": _I32,
    },
)
FETCH = Api(
    *(1, 13),
    {
        "replica": _I32,
        "max_wait_ms": _I32,
        "min_bytes": _I32,
        "max_bytes": _I32,
        "isolation": _I8,
        "session_id": _I32,
        "session_epoch": _I32,
        "topics": [
            {
                "topic_id": _UUID,
                "partitions": [
                    {
                        "index": _I32,
                        "leader_epoch": _I32,
                        "offset": _I64,
                        "last_fetched_epoch": _I32,
                        "log_start": _I64,
                        "max_bytes": _I32,
                    }
                ],
            }
        ],
        "forgotten": [{"topic_id": _UUID, "partitions": [_I32]}],
        "rack": _TEXT,
    },
    {
        **_OUTCOME,
        "session_id": _I32,
        "topics": [
            {
                "topic_id": _UUID,
                "partitions": [
                    {
                        "index": _I32,
                        "error": _I16,
                        "high_watermark": _I64,
                        "last_stable": _I64,
                        "log_start": _I64,
                        "aborted": [{"producer_id": _I64, "first_offset": _I64}],
                        "preferred_replica": _I32,
                        "records": _BYTES,
                    }
                ],
            }
        ],
    },
    flexible=True,
)
LIST_OFFSETS = Api(
    *(2, 2),
    {"replica": _I32, "isolation": _I8, "topics": _by_topic(index=_I32, timestamp=_I64)},
    {"throttle_ms": _I32, "topics": _by_topic(index=_I32, error=_I16, timestamp=_I64, offset=_I64)},
)
METADATA = Api(
    *(3, 12),
    {"topics": [{"topic_id": _UUID, "name": _TEXT}], "create": _I8, "operations": _I8},
    {
        "throttle_ms": _I32,
        "brokers": [{"node": _I32, "host": _TEXT, "port": _I32, "rack": _TEXT}],
        "cluster": _TEXT,
        "controller": _I32,
        "topics": [
            {
                "error": _I16,
                "name": _TEXT,
                "topic_id": _UUID,
                "internal": _I8,
                "partitions": [
                    {
                        "error": _I16,
                        "index": _I32,
                        "leader": _I32,
                        "leader_epoch": _I32,
                        "replicas": [_I32],
                        "in_sync": [_I32],
                        "offline": [_I32],
                    }
                ],
                "operations": _I32,
            }
        ],
    },
    flexible=True,
)
OFFSET_COMMIT = Api(
    *(8, 7),
    {
        **_MEMBER,
        "instance": _TEXT,
        "topics": _by_topic(index=_I32, offset=_I64, leader_epoch=_I32, metadata=_TEXT),
    },
    {"throttle_ms": _I32, "topics": _by_topic(index=_I32, error=_I16)},
)
OFFSET_FETCH = Api(
    *(9, 5),
    {"group": _TEXT, "topics": [{"name": _TEXT, "partitions": [_I32]}]},
    {
        "throttle_ms": _I32,
        "topics": _by_topic(index=_I32, offset=_I64, leader_epoch=_I32, metadata=_TEXT, error=_I16),
        "error": _I16,
    },
)
FIND_COORDINATOR = Api(
    *(10, 2), {"key": _TEXT, "type": _I8}, {**_OUTCOME, "message": _TEXT, "node": _I32, "host": _TEXT, "port": _I32}
)
JOIN_GROUP = Api(
    *(11, 5),
    {
        "group": _TEXT,
        "session_ms": _I32,
        "rebalance_ms": _I32,
        "member_id": _TEXT,
        "instance": _TEXT,
        "type": _TEXT,
        "protocols": [{"name": _TEXT, "metadata": _BYTES}],
    },
    {
        **_OUTCOME,
        "generation": _I32,
        "protocol": _TEXT,
        "leader": _TEXT,
        "member_id": _TEXT,
        "members": [{"member_id": _TEXT, "instance": _TEXT, "metadata": _BYTES}],
    },
)
HEARTBEAT = Api(*(12, 3), {**_MEMBER, "instance": _TEXT}, _OUTCOME)
LEAVE_GROUP = Api(*(13, 1), {"group": _TEXT, "member_id": _TEXT}, _OUTCOME)
SYNC_GROUP = Api(
    *(14, 3),
    {**_MEMBER, "instance": _TEXT, "assignments": [{"member_id": _TEXT, "assignment": _BYTES}]},
    {**_OUTCOME, "assignment": _BYTES},
)
API_VERSIONS = Api(
    *(18, 3),
    {"software": _TEXT, "software_version": _TEXT},
    {"error": _I16, "apis": [{"key": _I16, "from_version": _I16, "to_version": _I16}], "throttle_ms": _I32},
    flexible=True,
)
CREATE_TOPICS = Api(
    *(19, 4),
    {
        "topics": [
            {
                "name": _TEXT,
                "partitions": _I32,
                "replicas": _I16,
                "assignments": [{"index": _I32, "nodes": [_I32]}],
                "configs": [{"name": _TEXT, "value": _TEXT}],
            }
        ],
        "timeout_ms": _I32,
        "validate_only": _I8,
    },
    {"throttle_ms": _I32, "topics": [{"name": _TEXT, "error": _I16, "message": _TEXT}]},
)
DELETE_TOPICS = Api(
    *(20, 1),
    {"names": [_TEXT], "timeout_ms": _I32},
    {"throttle_ms": _I32, "topics": [{"name": _TEXT, "error": _I16}]},
)
INIT_PRODUCER_ID = Api(
    *(22, 1), {"transactional_id": _TEXT, "timeout_ms": _I32}, {**_OUTCOME, "producer_id": _I64, "epoch": _I16}
)
DESCRIBE_CONFIGS = Api(
    *(32, 1),
    {"resources": [{"type": _I8, "name": _TEXT, "keys": [_TEXT]}], "synonyms": _I8},
    {
        "throttle_ms": _I32,
        "results": [
            {
                "error": _I16,
                "message": _TEXT,
                "type": _I8,
                "name": _TEXT,
                "configs": [
                    {
                        "name": _TEXT,
                        "value": _TEXT,
                        "read_only": _I8,
                        "source": _I8,
                        "sensitive": _I8,
                        "synonyms": [{"name": _TEXT, "value": _TEXT, "source": _I8}],
                    }
                ],
            }
        ],
    },
)
