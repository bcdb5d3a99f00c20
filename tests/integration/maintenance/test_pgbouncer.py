"""Behind PgBouncer in transaction mode each transaction has the role and the timeouts of its service."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

import settings
from core import db
from settings import ROOT
from tests.support.own_postgres import ADMIN, OwnPostgres, run, running_postgres
from tests.support.pgbouncer import MISSING, PgBouncer, running_pgbouncer

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "installed")

LOGINS = (*settings.SERVICES, "bridge")
PASSWORDS = {ADMIN: "pw of the owner", **{f"coursebus_{name}": f"pw of {name}" for name in LOGINS}}
_STATE = text("SELECT current_user, current_setting('lock_timeout'), current_setting('timezone')")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPostgres]:
    directory = tmp_path_factory.mktemp("postgres")
    directory.parent.chmod(0o711)
    with running_postgres(directory) as server:
        passwords = {f"{name.upper()}_DATABASE_PASSWORD": f"pw of {name}" for name in LOGINS}
        assert server.migrate(server.url(), **passwords).returncode == 0
        yield server


@pytest.fixture(scope="module")
def pooler(server: OwnPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    directory = tmp_path_factory.mktemp("pgbouncer")
    directory.chmod(0o711)
    with running_pgbouncer(directory, server, PASSWORDS) as pooler:
        yield pooler


@pytest.fixture
def transaction_pooling(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(settings, "DATABASE_POOLING", "transaction")
    db.connect.cache_clear()
    yield
    db.connect.cache_clear()


def state(engine: Engine) -> tuple[str, ...]:
    with engine.begin() as connection:
        return tuple(connection.execute(_STATE).one())


@pytest.mark.parametrize("login", ["owner", "service"])
def test_every_transaction_has_role_and_timeouts(pooler: PgBouncer, transaction_pooling: None, login: str):
    def engine_of(service: str) -> Engine:
        user = ADMIN if login == "owner" else f"coursebus_{service}"
        return db.connect(pooler.url(user, PASSWORDS[user]), role=service)

    engines = {service: engine_of(service) for service in ("courses", "payments", "users")}
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda service: (service, state(engines[service])), [*engines] * 20))

    assert {(service, *values) for service, values in found} == {
        (service, f"coursebus_{service}", "5s", "UTC") for service in engines
    }
    for engine in engines.values():
        engine.dispose()


def test_nothing_is_left_on_the_server_connection(pooler: PgBouncer, transaction_pooling: None):
    courses = db.connect(pooler.url(ADMIN, PASSWORDS[ADMIN]), role="courses")
    state(courses)
    with pytest.raises(DBAPIError, match="division by zero"), courses.begin() as connection:
        connection.execute(text("SELECT 1 / 0"))
    assert state(courses)[0] == "coursebus_courses"
    with pytest.raises(ProgrammingError, match="permission denied"), courses.begin() as connection:
        connection.execute(text("SELECT FROM payments.orders"))
    courses.dispose()

    assert run(
        pooler.url(ADMIN, PASSWORDS[ADMIN]), "SELECT current_user || ' ' || current_setting('lock_timeout')"
    ) == [f"{ADMIN} 0"]


def test_startup_options_are_refused_without_the_setting(pooler: PgBouncer):
    db.connect.cache_clear()

    with pytest.raises(DBAPIError, match="unsupported startup parameter"):
        db.connect(pooler.url(ADMIN, PASSWORDS[ADMIN]), role="courses").connect()


def migrate(**variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "migrations", "upgrade"]
    environ = os.environ | {"DATABASE_POOLING": "transaction"} | variables
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def test_migrations_run_on_the_server_behind_the_pooler(server: OwnPostgres, pooler: PgBouncer):
    refused = migrate(DATABASE_URL=pooler.url(ADMIN, PASSWORDS[ADMIN]))
    done = migrate(DATABASE_URL=pooler.url(ADMIN, PASSWORDS[ADMIN]), DIRECT_DATABASE_URL=server.url())

    assert refused.returncode == 1
    assert refused.stderr.startswith("DIRECT_DATABASE_URL must name the server behind the pooler")
    assert done.returncode == 0, done.stderr
