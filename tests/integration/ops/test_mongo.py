"""The development server for MongoDB, by the official client: types, operators, indexes, expiry and restarts."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pymongo
import pytest
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, OperationFailure

from ops.dev.mongo.commands import Commands
from ops.dev.mongo.storage import Storage
from ops.dev.mongo.wire import Server

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST, SECOND = UUID(int=1), UUID(int=2)  # constant: they are part of test ids
USER, OTHER_USER = UUID(int=3), UUID(int=4)


class MongoServer:
    def __init__(self, path) -> None:
        self.storage = Storage(path)
        self._server = Server(("127.0.0.1", 0), Commands(self.storage))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        port = self._server.server_address[1]
        self._client = pymongo.MongoClient(
            f"mongodb://127.0.0.1:{port}/shop", tz_aware=True, uuidRepresentation="standard", timeoutMS=5000
        )
        self.collection = self._client.get_default_database()["items"]

    def close(self) -> None:
        self._client.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server(tmp_path) -> Iterator[MongoServer]:
    running = MongoServer(tmp_path / "documents.sqlite")
    yield running
    running.close()


@pytest.fixture
def items(server) -> Collection:
    server.collection.insert_many(
        [
            {"_id": FIRST, "user": USER, "at": NOON, "n": 1, "tags": ["a", "b"], "ended_at": None},
            {"_id": SECOND, "user": USER, "at": NOON + timedelta(hours=1), "n": 2, "open": True},
        ]
    )
    return server.collection


def test_values_keep_their_types_after_an_update(items):
    change = {"user": uuid4(), "at": NOON.replace(microsecond=123000), "open": False, "n": 1.5, "in": {"at": NOON}}
    items.update_one({"_id": FIRST}, {"$set": change})

    found = items.find_one({"_id": FIRST})
    assert {name: found[name] for name in change} == change
    assert [type(found[name]) for name in change] == [UUID, datetime, bool, float, dict]


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"_id": SECOND}, [2]),
        ({"_id": {"$in": [FIRST, SECOND]}}, [1, 2]),
        ({"_id": {"$gt": FIRST}}, [2]),
        ({"user": USER, "n": {"$ne": 1}}, [2]),
        ({"user": OTHER_USER}, []),
        ({"at": NOON}, [1]),
        ({"at": {"$lte": NOON.astimezone()}}, [1]),
        ({"at": {"$gt": NOON, "$lt": NOON + timedelta(days=1)}}, [2]),
        ({"ended_at": None}, [1, 2]),
        ({"ended_at": {"$eq": None}}, [1, 2]),
        ({"ended_at": {"$exists": False}}, [2]),
        ({"ended_at": {"$lte": NOON}}, []),
        ({"tags": "b"}, [1]),
        ({"n": {"$nin": [1, 7]}}, [2]),
        ({"n": True}, []),
        ({"n": 1.0}, [1]),
        ({"n": {"$gte": "1"}}, []),
        ({"$or": [{"n": 2}, {"tags": "a"}]}, [1, 2]),
    ],
    ids=str,
)
def test_queries_match_by_type_and_value(items, query, expected, indexed):
    if indexed:
        for name in ("user", "at", "n", "tags", "ended_at"):
            items.create_index(name)

    assert sorted(each["n"] for each in items.find(query)) == expected
    assert items.count_documents(query) == len(expected)


def test_upsert_inserts_once(items):
    new = uuid4()
    results = [items.update_one({"_id": new}, {"$setOnInsert": {"n": n}}, upsert=True) for n in (8, 9)]

    assert [(each.upserted_id, each.matched_count) for each in results] == [(new, 0), (None, 1)]
    assert items.find_one({"_id": new}) == {"_id": new, "n": 8}


def test_find_and_modify_returns_the_new_document(items):
    claim = {"$set": {"at": NOON + timedelta(days=1)}, "$inc": {"n": 5}}
    due = {"_id": FIRST, "at": {"$lte": NOON}}

    claimed = items.find_one_and_update(due, claim, return_document=pymongo.ReturnDocument.AFTER)
    assert (claimed["n"], claimed["at"]) == (6, NOON + timedelta(days=1))
    assert items.find_one_and_update(due, claim) is None


def test_index_follows_changes(items):
    items.create_index([("user", 1), ("n", -1)])
    moved = uuid4()
    items.update_one({"_id": FIRST}, {"$set": {"user": moved}})
    items.delete_one({"_id": SECOND})

    assert [each["_id"] for each in items.find({"user": moved})] == [FIRST]
    assert list(items.find({"user": USER})) == []


def test_sort_limit_and_projection(items):
    items.insert_one({"_id": uuid4(), "n": None})

    newest = items.find({}, {"n": 1}).sort([("n", -1), ("_id", 1)]).limit(2)
    assert list(newest) == [{"_id": SECOND, "n": 2}, {"_id": FIRST, "n": 1}]
    assert [each["n"] for each in items.find().sort("n", 1)] == [None, 1, 2]


def test_duplicate_id_is_rejected(items):
    with pytest.raises(DuplicateKeyError):
        items.insert_one({"_id": FIRST})


@pytest.mark.parametrize(
    "use",
    [
        lambda items: items.find_one({"n": {"$regex": "a"}}),
        lambda items: items.update_one({}, {"$push": {"tags": "c"}}),
        lambda items: items.replace_one({}, {"n": 1}),
        lambda items: items.create_index("n", unique=True),
        lambda items: items.distinct("n"),
    ],
    ids=["query operator", "update operator", "replacement", "unique index", "command"],
)
def test_unsupported_operations_are_refused(items, use):
    with pytest.raises(OperationFailure):
        use(items)


def test_ttl_index_deletes_expired_documents(server, items):
    items.create_index("at", expireAfterSeconds=60)
    items.insert_one({"_id": uuid4(), "n": 3, "at": None})  # no date: never expires

    server.storage.delete_expired(NOON + timedelta(seconds=60))
    assert sorted(each["n"] for each in items.find()) == [2, 3]


def test_documents_and_indexes_survive_a_restart(tmp_path):
    first = MongoServer(tmp_path / "documents.sqlite")
    first.collection.create_index("at", expireAfterSeconds=0)
    first.collection.insert_one({"_id": FIRST, "at": NOON})
    first.close()

    second = MongoServer(tmp_path / "documents.sqlite")
    assert list(second.collection.find({"at": NOON})) == [{"_id": FIRST, "at": NOON}]
    assert second.collection.index_information()["at_1"]["expireAfterSeconds"] == 0
    second.collection.drop()
    assert second.collection.count_documents({}) == 0
    second.close()
