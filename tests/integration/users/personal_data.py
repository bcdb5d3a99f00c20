"""Search for personal data in every store of the platform."""

from collections.abc import Iterator

import pymongo
from redis import Redis

import settings
from core.redis import cache_redis, queue_redis
from tests.support.databases import Database


def find_personal_data(words: str, database: Database) -> list[str]:
    """Return where ``words`` occur: all PostgreSQL tables, MongoDB collections, and both Redis servers."""
    return [*in_tables(words, database), *_in_collections(words), *_in_redis(words)]


def in_tables(words: str, database: Database) -> Iterator[str]:
    """Yield the rows of PostgreSQL tables that contain ``words``."""
    tables = database.rows(
        "SELECT table_schema, table_name FROM information_schema.tables"
        " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    )
    assert len(tables) > 20
    for schema, table in tables:
        for (row,) in database.rows(
            f"SELECT found::text FROM {schema}.{table} found WHERE strpos(found::text, :words) > 0",  # noqa: S608 tables of the product
            words=words,
        ):
            yield f"{schema}.{table}: {row}"


def _in_collections(words: str) -> Iterator[str]:
    with pymongo.MongoClient(settings.MONGO_URL, uuidRepresentation="standard") as client:
        database = client.get_default_database("coursebus")
        for name in database.list_collection_names():
            for document in database[name].find():
                if words in str(document):
                    yield f"mongo {name}: {document}"


def _in_redis(words: str) -> Iterator[str]:
    for server in (queue_redis(), cache_redis()):
        for key in server.scan_iter():
            if words.encode() in key + _value(server, key):
                yield f"redis: {key!r}"


def _value(server: Redis, key: bytes) -> bytes:
    kind = server.type(key)
    if kind == b"string":
        return server.get(key) or b""
    if kind == b"list":
        return b" ".join(server.lrange(key, 0, -1))
    if kind == b"hash":
        return str(server.hgetall(key)).encode()
    if kind in {b"set", b"zset"}:
        return b" ".join(server.sscan_iter(key) if kind == b"set" else server.zrange(key, 0, -1))
    return str(server.dump(key)).encode()
