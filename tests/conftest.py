"""One stack of real servers a process; plain tests first, whole stories then, kills last.

``make test`` runs three processes. One begins with what needs a platform made for it (Apache Kafka, where Java is),
the others with the fast tests; then one goes through the kills, and one through the stories. Whoever is through takes
of the plain tests that wait for Kafka.
"""

from tests.support import environment  # before anything that imports settings

# isort: split
import signal
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session
from xdist.scheduler import LoadScopeScheduling

import settings
from core.redis import RELAY_HINT, queue_redis
from settings import SERVICES
from tests.support import databases, deliveries
from tests.support.databases import Database
from tests.support.platform import Platform
from tests.support.servers import Servers
from workers.notifications import mongodb


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: everything is stopped
    if config.getoption("numprocesses", None):
        environment.restore_environment()
        config.option.loadscopereorder = False  # the order of the collection holds, not the number of tests


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_stage)
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=_group_order)


_PLAIN, _FLOWS, _KAFKA, _STORM, _KILLS = range(5)


def _stage(item: pytest.Item) -> int:
    if item.get_closest_marker("kafka"):
        return _KAFKA  # they need no platform, and whoever goes through them has none yet
    if item.path.name == "test_random_kills.py":
        return _STORM  # before the other kills: with a lost log all events there are go out again
    if item.get_closest_marker("chaos"):
        return _KILLS
    return _FLOWS if item.get_closest_marker("e2e") else _PLAIN


# In this order there is one platform at work beside the fast tests, of which some measure time; when those are through,
# there are three. The slow ones, which mostly wait, come last, so that all three have as much to do.
SCHEDULING_GROUPS = ["a platform that is taken apart", "fast", "a platform that is killed", "a platform", "slow"]
_DISTRIBUTED_GROUPS = {"fast", "slow"}  # the others share what takes long to start


def scheduling_group(nodeid: str) -> str:
    """Which of SCHEDULING_GROUPS a test belongs to."""
    if nodeid.partition("::")[0].endswith(("test_apache_kafka.py", "test_sabotage.py")) or "three_minutes" in nodeid:
        return "a platform that is taken apart"
    if nodeid.startswith("tests/chaos/"):
        return "a platform that is killed"
    if nodeid.startswith("tests/e2e/"):
        return "a platform"
    return "slow" if nodeid.startswith(("tests/bridge/", "tests/maintenance/", "tests/operations/")) else "fast"


def _group_order(item: pytest.Item) -> tuple[int, int]:
    piece = SCHEDULING_GROUPS.index(scheduling_group(item.nodeid))
    # What is taken apart begins with its platform, while the others have none yet, and ends with what needs none.
    return piece, (_STORM, _KILLS, _KAFKA).index(_stage(item)) if piece == 0 else 0


class GroupScheduling(LoadScopeScheduling):
    """What shares a running platform goes through one process as a whole; all else is dealt out one by one."""

    def _split_scope(self, nodeid: str) -> str:
        piece = scheduling_group(nodeid)
        return nodeid if piece in _DISTRIBUTED_GROUPS else piece


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    return GroupScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def servers() -> Iterator[Servers]:
    """The servers, with a migrated database ``plain`` for tests that leave nothing behind."""
    servers = Servers()
    try:
        servers.start()
        databases.migrate_template()
        databases.create_database("plain")
        yield servers
        close_clients()
        databases.drop_all()
    finally:
        servers.stop()


def close_clients() -> None:
    """Of this process, as a worker: their sockets would be warnings otherwise."""
    if mongodb.client.cache_info().currsize:  # nobody else would close it
        mongodb.client().close()


@pytest.fixture(scope="session")
def plain_engine() -> Iterator[Engine]:
    engine = create_engine(settings.DATABASE_URL)
    yield engine
    engine.dispose()


@pytest.fixture
def session(plain_engine: Engine) -> Iterator[Session]:
    """A session on the migrated database, undone after the test, commits and all."""
    with plain_engine.connect() as connection, connection.begin() as transaction:
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            yield session
        transaction.rollback()


@pytest.fixture(scope="session")
def committed_database() -> Database:
    return databases.create_database("committed")


@pytest.fixture
def database(committed_database: Database) -> Iterator[Database]:
    """An empty database for real commits, which every service of this process uses; the queues are empty too."""
    queue_redis().delete(*SERVICES, RELAY_HINT)
    databases.clear(committed_database)
    with databases.using_database(committed_database):
        yield committed_database


@pytest.fixture
def deliver(database: Database) -> Callable[..., dict[str, Any]]:
    """``deliver(task, message, event_id=…, claim=…)`` does a task as a worker does it, in ``database``."""
    return deliveries.deliver


@pytest.fixture
def topics(monkeypatch) -> str:
    """Kafka topics and consumer groups of the test's own; returns their prefix."""
    monkeypatch.setattr(settings, "KAFKA_TOPIC_PREFIX", f"{uuid4().hex[:8]}.")
    monkeypatch.setattr(settings, "KAFKA_PARTITIONS", 3)
    return settings.KAFKA_TOPIC_PREFIX


@pytest.fixture(scope="session")
def running_platform(servers: Servers) -> Platform:
    servers.start_platform()
    return Platform(servers.stack)


@pytest.fixture
def stack(running_platform: Platform, request) -> Platform:
    """The whole platform, running. For tests that are marked ``e2e`` or ``chaos``."""
    assert request.node.get_closest_marker("e2e") or request.node.get_closest_marker("chaos")
    running_platform.wait_until_up()
    return running_platform
