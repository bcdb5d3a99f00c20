"""Execute the commands of MongoDB that pymongo sends for the project. Others are refused with CommandNotFound.

Reference: https://www.mongodb.com/docs/manual/reference/command/
"""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from .documents import CommandError, Document, is_operators, project, sort
from .storage import Collection, Storage

_COMMAND_NOT_FOUND = 59
_MAX_DOCUMENT, _MAX_MESSAGE, _MAX_BATCH = 16 * 1024 * 1024, 48_000_000, 100_000
_WIRE_VERSION = 21  # MongoDB 7.0


class Commands:
    """The commands of one server."""

    def __init__(self, storage: Storage) -> None:
        """Execute commands on ``storage``."""
        self._storage = storage
        self._lock = threading.Lock()  # one command at a time: each command is atomic, as on MongoDB
        self._commands: dict[str, Callable[[Document], Document]] = {
            **dict.fromkeys(("hello", "ismaster", "isMaster"), self._hello),
            **dict.fromkeys(("ping", "endSessions"), lambda _command: {}),
            "aggregate": self._aggregate,
            "createIndexes": self._create_indexes,
            "delete": self._delete,
            "drop": self._drop,
            "dropDatabase": self._drop_database,
            "find": self._find,
            "findAndModify": self._find_and_modify,
            "insert": self._insert,
            "listCollections": self._list_collections,
            "listIndexes": self._list_indexes,
            "update": self._update,
        }

    def run(self, command: Document) -> Document:
        """Execute ``command`` and return the reply; errors are replies too."""
        name = next(iter(command))
        if (execute := self._commands.get(name)) is None:
            return {"ok": 0.0, "errmsg": f"no such command: '{name}'", "code": _COMMAND_NOT_FOUND}
        try:
            with self._lock:
                return {**execute(command), "ok": 1.0}
        except CommandError as error:
            return {"ok": 0.0, "errmsg": str(error), "code": error.code}

    def delete_expired(self) -> None:
        """Delete the documents that have expired by a TTL index."""
        with self._lock:
            self._storage.delete_expired(datetime.now(UTC))

    def _hello(self, _command: Document) -> Document:
        # Neither a replica set nor sessions: pymongo then sends no retryable writes and no transactions.
        return {
            "ismaster": True,
            "isWritablePrimary": True,
            "helloOk": True,
            "maxBsonObjectSize": _MAX_DOCUMENT,
            "maxMessageSizeBytes": _MAX_MESSAGE,
            "maxWriteBatchSize": _MAX_BATCH,
            "minWireVersion": 0,
            "maxWireVersion": _WIRE_VERSION,
            "readOnly": False,
        }

    def _collection(self, command: Document) -> Collection:
        return self._storage.collection(command["$db"], next(iter(command.values())))

    def _find(self, command: Document) -> Document:
        collection = self._collection(command)
        found = list(collection.find(command.get("filter", {})))
        if order := command.get("sort"):
            found = sort(found, order)
        first = command.get("skip", 0)
        limit = abs(command.get("limit", 0)) or None
        found = found[first : first + limit if limit else None]
        fields = command.get("projection") or {}
        return _cursor(collection.namespace, [project(document, fields) for document in found])

    def _insert(self, command: Document) -> Document:
        collection, errors, inserted = self._collection(command), [], 0
        for index, document in enumerate(command["documents"]):
            try:
                collection.insert({"_id": document.get("_id", ObjectId()), **document})
                inserted += 1
            except CommandError as error:
                errors.append({"index": index, "code": error.code, "errmsg": str(error)})
                if command.get("ordered", True):
                    break
        return {"n": inserted, **({"writeErrors": errors} if errors else {})}

    def _update(self, command: Document) -> Document:
        collection, matched, modified, upserted = self._collection(command), 0, 0, []
        for index, statement in enumerate(command["updates"]):
            found = list(collection.find(statement["q"]))
            found = found if statement.get("multi") else found[:1]
            matched += len(found)
            modified += sum(collection.update(document, statement["u"]) is not document for document in found)
            if not found and statement.get("upsert"):
                new = collection.update(_upserted(statement["q"]), statement["u"], inserted=True)
                upserted.append({"index": index, "_id": new["_id"]})
        done = {"n": matched + len(upserted), "nModified": modified}
        return {**done, "upserted": upserted} if upserted else done

    def _delete(self, command: Document) -> Document:
        collection, deleted = self._collection(command), 0
        for statement in command["deletes"]:
            found = list(collection.find(statement["q"]))
            deleted += collection.delete(found[:1] if statement["limit"] else found)
        return {"n": deleted}

    def _find_and_modify(self, command: Document) -> Document:
        if command.get("upsert") or command.get("remove"):
            raise CommandError("findAndModify with upsert or remove is not supported")
        collection = self._collection(command)
        found = sort(collection.find(command.get("query", {})), command.get("sort") or {})
        if not found:
            return {"value": None, "lastErrorObject": {"n": 0, "updatedExisting": False}}
        changed = collection.update(found[0], command["update"])
        value = project(changed if command.get("new") else found[0], command.get("fields") or {})
        return {"value": value, "lastErrorObject": {"n": 1, "updatedExisting": True}}

    def _aggregate(self, command: Document) -> Document:
        """Count the documents that match: the pipeline that pymongo sends for count_documents."""
        match command["pipeline"]:
            case [{"$match": query}, {"$group": {"_id": 1, "n": {"$sum": 1}}}]:
                collection = self._collection(command)
                count = sum(1 for _ in collection.find(query))
                return _cursor(collection.namespace, [{"_id": 1, "n": count}] if count else [])
        raise CommandError("only the pipeline of count_documents is supported")

    def _create_indexes(self, command: Document) -> Document:
        collection = self._collection(command)
        for spec in command["indexes"]:
            collection.create_index(spec)
        return {}

    def _list_indexes(self, command: Document) -> Document:
        collection = self._collection(command)
        primary = {"v": 2, "key": {"_id": 1}, "name": "_id_"}
        return _cursor(collection.namespace, [primary, *({"v": 2, **spec} for spec in collection.indexes.values())])

    def _list_collections(self, command: Document) -> Document:
        names = self._storage.collection_names(command["$db"])
        found = [{"name": name, "type": "collection", "options": {}, "info": {"readOnly": False}} for name in names]
        return _cursor(f"{command['$db']}.$cmd.listCollections", found)

    def _drop(self, command: Document) -> Document:
        self._storage.drop(command["$db"], command["drop"])
        return {}

    def _drop_database(self, command: Document) -> Document:
        for name in self._storage.collection_names(command["$db"]):
            self._storage.drop(command["$db"], name)
        return {}


def _cursor(namespace: str, found: list[Document]) -> Document:
    # All documents are in the first batch: no result of the project is larger than a message.
    return {"cursor": {"id": 0, "ns": namespace, "firstBatch": found}}


def _upserted(query: Mapping[str, Any]) -> Document:
    """Return the document that an upsert starts with: the equalities of its query."""
    equal = {name: value for name, value in query.items() if not name.startswith("$") and not is_operators(value)}
    return {"_id": ObjectId(), **equal}
