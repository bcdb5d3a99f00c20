"""Answer the requests of Kafka's clients."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from . import messages
from .errors import ErrorCode, KafkaError
from .groups import Group
from .messages import Api
from .topics import Topic, Topics, partition_of
from .wire import NO_TAGS, Type, decoder, skip_tags, with_size

Message = dict[str, Any]
_NODE = 1
_HEADER = struct.Struct(">hhi")  # api, version, correlation id; the client id follows
_CORRELATION_ID = struct.Struct(">i")
_decode_client_id = decoder(Type.STRING, flexible=False)
_UNSUPPORTED_VERSION = struct.pack(">hi", ErrorCode.UNSUPPORTED_VERSION, 0)  # the code, and no versions
_DYNAMIC_TOPIC_CONFIG = 1
_NOT_ASKED = -(2**31)  # for the operations that a client may do


class Broker:
    """The only broker of its cluster; ``port`` is where clients reach it."""

    def __init__(self, port: int) -> None:
        self._address = {"node": _NODE, "host": "127.0.0.1", "port": port}
        self._topics = Topics()
        self._groups: dict[str, Group] = {}
        self._producer_count = 0
        self._metadata_answers: dict[bytes, bytes] = {}  # encoded, by request; until topics are created or deleted
        handlers: list[tuple[Api, Callable[[Message, str], Awaitable[Message]]]] = [
            (messages.PRODUCE, self._produce),
            (messages.FETCH, self._fetch),
            (messages.LIST_OFFSETS, self._list_offsets),
            (messages.METADATA, self._metadata),
            (messages.OFFSET_COMMIT, self._offset_commit),
            (messages.OFFSET_FETCH, self._offset_fetch),
            (messages.FIND_COORDINATOR, self._find_coordinator),
            (messages.JOIN_GROUP, self._join_group),
            (messages.HEARTBEAT, self._heartbeat),
            (messages.LEAVE_GROUP, self._leave_group),
            (messages.SYNC_GROUP, self._sync_group),
            (messages.API_VERSIONS, self._api_versions),
            (messages.CREATE_TOPICS, self._create_topics),
            (messages.DELETE_TOPICS, self._delete_topics),
            (messages.INIT_PRODUCER_ID, self._init_producer_id),
            (messages.DESCRIBE_CONFIGS, self._describe_configs),
        ]
        self._handlers = {api.key: (api, handler) for api, handler in handlers}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection one after another, as Kafka does, until the client closes it."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                writer.write(await self._answer(await reader.readexactly(size)))
                await writer.drain()
        writer.close()

    async def _answer(self, request: bytes) -> bytes:
        key, version, correlation_id = _HEADER.unpack_from(request)
        api, handler = self._handlers[key]
        if version != api.version:  # the client has not asked yet which versions there are
            return _unsupported_version(correlation_id)
        client_id, at = _decode_client_id(request, _HEADER.size)
        if api.flexible:
            at = skip_tags(request, at)
        parts = [_CORRELATION_ID.pack(correlation_id)]
        if (
            api.flexible and api is not messages.API_VERSIONS
        ):  # its header has no tags, so that every client can read it
            parts.append(NO_TAGS)
        # Each client asks for the metadata of the same topics every second or two.
        asked = request[at:] if api is messages.METADATA else None
        if asked not in self._metadata_answers:
            encoded: list[bytes] = []
            api.encode_response(encoded, await handler(api.decode_request(request, at)[0], client_id or ""))
            if asked is None:
                return with_size(parts + encoded)
            self._metadata_answers[asked] = b"".join(encoded)
        return with_size([*parts, self._metadata_answers[asked]])

    # Records.

    async def _produce(self, request: Message, _client: str) -> Message:
        def append(topic: str, partition: Message) -> Message:
            offset = self._topics.partition(topic, partition["index"]).append(partition["records"] or b"")
            return {"base_offset": offset, "append_time": -1, "log_start": 0}

        failed = {"base_offset": -1, "append_time": -1, "log_start": -1}
        return {"topics": _for_each_partition(request["topics"], append, failed), "throttle_ms": 0}

    async def _init_producer_id(self, _request: Message, _client: str) -> Message:
        self._producer_count += 1
        return _ok(producer_id=self._producer_count - 1, epoch=0)

    async def _fetch(self, request: Message, _client: str) -> Message:
        """Return records, or wait for them at most as long as the client asks for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(request["max_wait_ms"] / 1000):
                await self._wait_for_records(request)
        return _ok(session_id=0, topics=self._read(request))

    async def _wait_for_records(self, request: Message) -> None:
        """Return when one of the partitions has a record at its offset, or an error."""
        try:
            wanted = [
                (partition_of(self._topics.get_by_id(topic["topic_id"]), each["index"]), each["offset"])
                for topic in request["topics"]
                for each in topic["partitions"]
            ]
        except KafkaError:
            return
        if any(partition.end != offset for partition, offset in wanted):
            return
        changed = asyncio.Event()
        for partition, _ in wanted:
            partition.waiting.add(changed)
        try:
            await changed.wait()
        finally:
            for partition, _ in wanted:
                partition.waiting.discard(changed)

    def _read(self, request: Message) -> list[Message]:
        """Return what is in the partitions now."""
        budget, topics = request["max_bytes"], list[Message]()
        for wanted in request["topics"]:
            partitions = list[Message]()
            for each in wanted["partitions"]:
                records, end, code = b"", -1, ErrorCode.NONE
                try:
                    partition = partition_of(self._topics.get_by_id(wanted["topic_id"]), each["index"])
                    end = partition.end
                    limit = min(each["max_bytes"], budget)
                    records = partition.read(each["offset"], limit, at_least_one=budget == request["max_bytes"])
                except KafkaError as error:
                    code = error.code
                budget -= len(records)
                partitions.append(
                    {
                        "index": each["index"],
                        "error": code,
                        "high_watermark": end,
                        "last_stable": end,
                        "log_start": 0,
                        "aborted": None,
                        "preferred_replica": -1,
                        "records": records,
                    }
                )
            topics.append({"topic_id": wanted["topic_id"], "partitions": partitions})
        return topics

    async def _list_offsets(self, request: Message, _client: str) -> Message:
        def find(topic: str, partition: Message) -> Message:
            timestamp, offset = self._topics.partition(topic, partition["index"]).find(partition["timestamp"])
            return {"timestamp": timestamp, "offset": offset}

        topics = _for_each_partition(request["topics"], find, {"timestamp": -1, "offset": -1})
        return {"throttle_ms": 0, "topics": topics}

    # Topics.

    async def _api_versions(self, _request: Message, _client: str) -> Message:
        apis = [{"key": api.key, "from_version": 0, "to_version": api.version} for api, _ in self._handlers.values()]
        return {"error": ErrorCode.NONE, "apis": apis, "throttle_ms": 0}

    async def _metadata(self, request: Message, _client: str) -> Message:
        topics = [self._describe(each) for each in request["topics"]]
        return {
            "throttle_ms": 0,
            "brokers": [{**self._address, "rack": None}],
            "cluster": "coursebus",
            "controller": _NODE,
            "topics": topics or list(map(_description, self._topics)),
        }

    def _describe(self, wanted: Message) -> Message:
        try:
            if wanted["name"] is None:
                return _description(self._topics.get_by_id(wanted["topic_id"]))
            return _description(self._topics.get(wanted["name"]))
        except KafkaError as error:
            return {"error": error.code, **wanted, "internal": 0, "partitions": [], "operations": _NOT_ASKED}

    async def _create_topics(self, request: Message, _client: str) -> Message:
        self._metadata_answers.clear()

        def create(topic: Message) -> Message:
            configs = {config["name"]: config["value"] for config in topic["configs"]}
            code = _code_of(lambda: self._topics.create(topic["name"], topic["partitions"], configs))
            return {"name": topic["name"], "error": code, "message": None}

        return {"throttle_ms": 0, "topics": list(map(create, request["topics"]))}

    async def _delete_topics(self, request: Message, _client: str) -> Message:
        self._metadata_answers.clear()

        def delete(name: str) -> Message:
            code = _code_of(lambda: self._topics.delete(name))
            if not code:
                for group in self._groups.values():
                    group.forget_topic(name)
            return {"name": name, "error": code}

        return {"throttle_ms": 0, "topics": list(map(delete, request["names"]))}

    async def _describe_configs(self, request: Message, _client: str) -> Message:
        """Return the configuration with which topics were created."""

        def describe(resource: Message) -> Message:
            described = {"message": None, "type": resource["type"], "name": resource["name"]}
            try:
                configs = self._topics.get(resource["name"]).configs
            except KafkaError as error:
                return {"error": error.code, **described, "configs": []}
            fixed = {"read_only": 0, "source": _DYNAMIC_TOPIC_CONFIG, "sensitive": 0, "synonyms": []}
            shown = [{"name": name, "value": value, **fixed} for name, value in configs.items()]
            return {"error": ErrorCode.NONE, **described, "configs": shown}

        return {"throttle_ms": 0, "results": list(map(describe, request["resources"]))}

    # Groups.

    def _group(self, request: Message) -> Group:
        return self._groups.setdefault(request["group"], Group())

    async def _find_coordinator(self, _request: Message, _client: str) -> Message:
        return _ok(message=None, **self._address)

    async def _join_group(self, request: Message, client: str) -> Message:
        protocols = {each["name"]: each["metadata"] for each in request["protocols"]}
        timeouts = request["session_ms"] / 1000, request["rebalance_ms"] / 1000
        try:
            joined = await self._group(request).join(request["member_id"], client, timeouts, protocols)
        except KafkaError as error:
            rejected = {"generation": -1, "protocol": "", "leader": "", "member_id": request["member_id"]}
            return {**_failed(error), **rejected, "members": []}
        members = [{"member_id": name, "instance": None, "metadata": each} for name, each in joined.members.items()]
        return _ok(
            generation=joined.generation,
            protocol=joined.protocol,
            leader=joined.leader,
            member_id=joined.member_id,
            members=members,
        )

    async def _sync_group(self, request: Message, _client: str) -> Message:
        assignments = {each["member_id"]: each["assignment"] for each in request["assignments"]}
        try:
            assignment = await self._group(request).sync(request["generation"], request["member_id"], assignments)
        except KafkaError as error:
            return {**_failed(error), "assignment": b""}
        return _ok(assignment=assignment)

    async def _heartbeat(self, request: Message, _client: str) -> Message:
        group = self._group(request)
        code = _code_of(lambda: group.heartbeat(request["generation"], request["member_id"]))
        return {"throttle_ms": 0, "error": code}

    async def _leave_group(self, request: Message, _client: str) -> Message:
        return {"throttle_ms": 0, "error": _code_of(lambda: self._group(request).leave(request["member_id"]))}

    async def _offset_commit(self, request: Message, _client: str) -> Message:
        group = self._group(request)

        def commit(topic: str, partition: Message) -> Message:
            group.check_commit(request["generation"], request["member_id"])
            self._topics.partition(topic, partition["index"])
            group.offsets[topic, partition["index"]] = partition["offset"], partition["metadata"]
            return {}

        return {"throttle_ms": 0, "topics": _for_each_partition(request["topics"], commit, {})}

    async def _offset_fetch(self, request: Message, _client: str) -> Message:
        offsets = self._group(request).offsets

        def committed(topic: str, index: int) -> Message:
            offset, metadata = offsets.get((topic, index), (-1, ""))
            found = {"offset": offset, "leader_epoch": -1, "metadata": metadata}
            return {"index": index, **found, "error": ErrorCode.NONE}

        topics = [
            {"name": each["name"], "partitions": [committed(each["name"], index) for index in each["partitions"]]}
            for each in request["topics"]
        ]
        return {"throttle_ms": 0, "topics": topics, "error": ErrorCode.NONE}


def _for_each_partition(
    topics: list[Message], answer: Callable[[str, Message], Message], failed: Message
) -> list[Message]:
    """Return the result of ``answer`` for each partition, or ``failed`` with the code of its KafkaError."""

    def attempt(topic: str, partition: Message) -> Message:
        try:
            result, code = answer(topic, partition), ErrorCode.NONE
        except KafkaError as error:
            result, code = failed, error.code
        return {"index": partition["index"], "error": code, **result}

    return [
        {"name": topic["name"], "partitions": [attempt(topic["name"], each) for each in topic["partitions"]]}
        for topic in topics
    ]


def _description(topic: Topic) -> Message:
    partitions = [
        {
            "error": ErrorCode.NONE,
            "index": index,
            "leader": _NODE,
            "leader_epoch": -1,
            "replicas": [_NODE],
            "in_sync": [_NODE],
            "offline": [],
        }
        for index in range(len(topic.partitions))
    ]
    described = {"error": ErrorCode.NONE, "name": topic.name, "topic_id": topic.topic_id, "internal": 0}
    return {**described, "partitions": partitions, "operations": _NOT_ASKED}


def _code_of(action: Callable[[], None]) -> ErrorCode:
    try:
        action()
    except KafkaError as error:
        return error.code
    return ErrorCode.NONE


def _ok(**fields: Any) -> Message:
    return {"throttle_ms": 0, "error": ErrorCode.NONE, **fields}


def _failed(error: KafkaError) -> Message:
    return {"throttle_ms": 0, "error": error.code}


def _unsupported_version(correlation_id: int) -> bytes:
    """Return the answer to ApiVersions in its first version, which every client can read."""
    return with_size([_CORRELATION_ID.pack(correlation_id), _UNSUPPORTED_VERSION])
