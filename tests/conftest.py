"""Start one stack of real servers per test process and order the tests: fast tests, end-to-end tests, chaos tests.

``make test`` runs three processes. One runs the chaos tests, the others the fast tests; then one of them runs the
end-to-end tests and the other the slow tests, which mostly wait for Kafka.
"""

from tests.support import environment  # before the first import of settings

# isort: split
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import structlog
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session
from xdist.scheduler import LoadScopeScheduling

import settings
from core.redis import RELAY_HINT, queue_redis
from models.notifications import mongodb
from settings import SERVICES
from tests.support import databases, deliveries
from tests.support.databases import Database
from tests.support.platform import Platform
from tests.support.servers import Servers


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: stops every process
    _log_plain_text()
    if config.getoption("numprocesses", None):
        environment.restore_environment()
        config.option.loadscopereorder = False  # keep the order of the collection; do not sort by number of tests


def _log_plain_text() -> None:
    # By default structlog renders each traceback with rich, which takes up to a second.
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(["event"]),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # the one that pytest captures at that moment
    )


KINDS = {
    "unit",
    "integration",
    "e2e",
    "chaos",
    "fakes",
    "image",
    "compose",
}  # folders of tests/, each the marker of its tests
_WITHOUT_SERVERS = {"unit", "fakes", "image", "compose"}


def kind_of(item: pytest.Item) -> str:
    """Return the folder of ``tests/`` that the test is in, which says what it needs."""
    kind = item.path.relative_to(settings.ROOT / "tests").parts[0]
    return kind if kind in KINDS else "integration"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        kind, fixtures = kind_of(item), getattr(item, "fixturenames", ())
        if kind in _WITHOUT_SERVERS and "servers" in fixtures:
            raise pytest.UsageError(f"{item.nodeid} needs servers: move it to tests/integration")
        if kind not in _WITHOUT_SERVERS and isinstance(item, pytest.Function):
            item.fixturenames.insert(0, "servers")  # before fixtures of modules, which may use them
        item.add_marker(kind)
        if "topics" in fixtures:
            item.add_marker("broker")
    items.sort(key=_stage)
    if hasattr(config, "workerinput"):  # set by xdist: one of several processes
        items.sort(key=_group_order)


_PLAIN, _FLOWS, _KAFKA, _SABOTAGE, _STORM, _KILLS = range(6)


def _stage(item: pytest.Item) -> int:
    if item.get_closest_marker("kafka"):
        return _KAFKA  # needs no running platform, and its process has not started one yet
    if item.path.name == "test_sabotage.py":
        return _SABOTAGE  # likewise: its platform ends with it
    if item.path.name == "test_random_kills.py":
        return _STORM  # before the other chaos tests: after a lost log all existing events are published again
    if item.get_closest_marker("chaos"):
        return _KILLS
    return _FLOWS if item.get_closest_marker("e2e") else _PLAIN


# The chaos tests are the longest chain and mostly wait, so one process starts with them. One platform at a time runs
# beside the fast tests, because some of those measure time. The slow tests wait, too: they run beside the e2e tests.
SCHEDULING_GROUPS = ["chaos", "fast", "e2e", "slow"]
_SLOW = ("tests/integration/bridge/", "tests/integration/maintenance/", "tests/integration/operations/")
_LONGEST_FILE = "tests/integration/test_extending.py"  # comes first, so that no process waits for it at the end


def scheduling_group(nodeid: str) -> str:
    """Return the one of SCHEDULING_GROUPS that a test belongs to."""
    kind = nodeid.split("/")[1]
    if kind in {"chaos", "e2e"}:
        return kind
    return "slow" if nodeid.startswith(_SLOW) else "fast"


def _group_order(item: pytest.Item) -> tuple[int, bool]:
    group = SCHEDULING_GROUPS.index(scheduling_group(item.nodeid))
    return group, not item.nodeid.startswith(_LONGEST_FILE)


class GroupScheduling(LoadScopeScheduling):
    """Keep the tests of one platform, and those of one file, in one process: they share what is slow to start."""

    def _split_scope(self, nodeid: str) -> str:
        group = scheduling_group(nodeid)
        return group if group in {"chaos", "e2e"} else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    return GroupScheduling(config, log)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Start the servers and create a migrated database ``plain`` for tests that roll back."""
    servers = Servers()
    try:
        servers.start()
        databases.migrate_template()
        databases.create_database("plain")
        yield servers
        close_clients()
        if not servers.deletes_databases:
            databases.drop_all()
    finally:
        servers.stop()


def close_clients() -> None:
    """Close the clients of this process, as a worker does: open sockets would cause ResourceWarnings."""
    if mongodb.client.cache_info().currsize:  # pymongo does not close it at exit
        mongodb.client().close()


@pytest.fixture(scope="session")
def plain_engine(servers: Servers) -> Iterator[Engine]:
    engine = create_engine(settings.DATABASE_URL)
    yield engine
    engine.dispose()


@pytest.fixture
def session(plain_engine: Engine) -> Iterator[Session]:
    """Return a session on the migrated database; everything, including commits, is rolled back after the test."""
    with plain_engine.connect() as connection, connection.begin() as transaction:
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            yield session
        transaction.rollback()


@pytest.fixture(scope="session")
def committed_database(servers: Servers) -> Database:
    return databases.create_database("committed")


@pytest.fixture
def database(committed_database: Database) -> Iterator[Database]:
    """Return an empty database for real commits, used by every service of this process; empty the queues too."""
    queue_redis().delete(*SERVICES, RELAY_HINT)
    databases.clear(committed_database)
    with databases.using_database(committed_database):
        yield committed_database


@pytest.fixture
def deliver(database: Database) -> Callable[..., dict[str, Any]]:
    """Return ``deliver(task, message, event_id=…, claim=…)``, which executes a task like a worker, in ``database``."""
    return deliveries.deliver


@pytest.fixture
def topics(monkeypatch) -> str:
    """Give the test its own Kafka topics and consumer groups; return their prefix."""
    monkeypatch.setattr(settings, "KAFKA_TOPIC_PREFIX", f"{uuid4().hex[:8]}.")
    monkeypatch.setattr(settings, "KAFKA_PARTITIONS", 3)
    return settings.KAFKA_TOPIC_PREFIX


@pytest.fixture(scope="session")
def running_platform(servers: Servers) -> Platform:
    servers.start_platform()
    return Platform(servers.stack)


@pytest.fixture
def stack(running_platform: Platform, request) -> Platform:
    """Return the running platform. Only for tests in ``tests/e2e`` and ``tests/chaos``."""
    assert kind_of(request.node) in {"e2e", "chaos"}
    running_platform.wait_until_up()
    return running_platform
