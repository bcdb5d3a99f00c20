"""The migrations run as an ordinary owner, and each process logs in with the rights of its service only."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import OperationalError, ProgrammingError

import settings
from bridge.publisher import relay
from core import db
from core.environment import normalize_database_url
from migrations.roles import ROLES
from settings import ROOT, SERVICES
from tests.support.own_postgres import OwnPostgres, run, running_postgres

PASSWORDS = {f"{name.upper()}_DATABASE_PASSWORD": f"pw of {name}" for name in (*SERVICES, "bridge")}
GRANT_ROLES = f"GRANT {', '.join(ROLES)} TO"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPostgres]:
    with running_postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@contextmanager
def database_of_owner(server: OwnPostgres) -> Iterator[str]:
    """Create a database with an owner who has no other right; yield its URL. Roles are removed as well."""
    server.execute("CREATE ROLE shop LOGIN PASSWORD 'pw'", "CREATE DATABASE shop OWNER shop")
    yield server.url("shop", database="shop", password="pw")
    server.execute("DROP DATABASE shop WITH (FORCE)", "DROP ROLE shop")
    for role in ROLES:
        server.execute(f"DROP ROLE IF EXISTS {role}")


@pytest.fixture
def shop(server: OwnPostgres) -> Iterator[str]:
    with database_of_owner(server) as url:
        yield url


def tables(url: str) -> int:
    [number] = run(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'bus'")
    return int(number)


def test_owner_without_createrole_gets_the_missing_right_and_the_statements(server: OwnPostgres, shop: str):
    completed = server.migrate(shop)

    assert completed.returncode == 1
    lines = completed.stderr.splitlines()
    assert lines[0].startswith("The database user shop lacks: CREATEROLE")
    assert "Traceback" not in completed.stderr
    assert tables(shop) == 0
    statements = [line.strip() for line in lines if line.endswith(";")]
    assert statements == [*(f"CREATE ROLE {role} NOLOGIN;" for role in ROLES), f"{GRANT_ROLES} shop;"]

    server.execute(*statements)  # as the administrator whom the message names

    assert server.migrate(shop).returncode == 0
    assert server.migrate(shop).returncode == 0
    assert run(shop, "SET ROLE coursebus_payments", "SELECT count(*) FROM payments.orders") == [0]


def test_roles_of_another_owner_have_to_be_granted(server: OwnPostgres, shop: str):
    for role in ROLES:
        server.execute(f"CREATE ROLE {role} NOLOGIN")
    server.execute("ALTER ROLE shop CREATEROLE")

    completed = server.migrate(shop)

    assert completed.returncode == 1
    assert [line.strip() for line in completed.stderr.splitlines() if line.endswith(";")] == [f"{GRANT_ROLES} shop;"]


def test_user_who_may_not_create_schemas_gets_the_statement(server: OwnPostgres, shop: str):
    server.execute("ALTER ROLE shop CREATEROLE", "ALTER DATABASE shop OWNER TO coursebus")

    completed = server.migrate(shop)

    assert completed.returncode == 1
    assert "    GRANT CREATE ON DATABASE shop TO shop;" in completed.stderr.splitlines()


class TestLogins:
    """An owner with CREATEROLE has installed the platform with passwords."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def installed(cls, server: OwnPostgres) -> Iterator[str]:
        with database_of_owner(server) as url:
            server.execute("ALTER ROLE shop CREATEROLE")
            assert server.migrate(url, **PASSWORDS).returncode == 0
            yield url

    def test_owner_switches_to_each_role(self, installed: str):
        assert run(installed, "SET ROLE coursebus_payments", "SELECT count(*) FROM payments.orders") == [0]

    def test_service_login_has_the_rights_of_its_service_only(self, server: OwnPostgres):
        courses = server.url("coursebus_courses", database="shop", password="pw of courses")

        assert run(courses, "SELECT count(*) FROM courses.courses") == [0]
        for statements in (
            ["SELECT FROM payments.orders"],
            ["RESET ROLE", "SELECT FROM payments.orders"],
            ["SET ROLE coursebus_payments"],
            ["SET ROLE shop"],
            ["SET SESSION AUTHORIZATION coursebus"],
            ["CREATE TABLE courses.mine ()"],
            ["CREATE TABLE public.mine ()"],
            ["CREATE ROLE mine"],
            ["DELETE FROM bus.staff_actions"],
        ):
            with pytest.raises(ProgrammingError, match="permission denied"):
                run(courses, *statements)
        with pytest.raises(OperationalError, match="password authentication failed"):
            run(server.url("coursebus_courses", database="shop", password="pw of payments"), "SELECT 1")

    def test_login_of_another_service_is_refused(self, server: OwnPostgres):
        url = normalize_database_url(server.url("coursebus_payments", database="shop", password="pw of payments"))

        with pytest.raises(OperationalError, match="the role is coursebus_payments instead of coursebus_courses"):
            db.connect(url, role="courses").connect()

    def test_connection_without_its_role_is_refused(self, installed: str, monkeypatch: pytest.MonkeyPatch):
        """A pooler may drop the option that sets the role."""

        def without_options(url: str, *, connect_args: dict[str, Any], **options: Any) -> Engine:
            return create_engine(url, connect_args={**connect_args, "options": ""}, **options)

        monkeypatch.setattr(db, "create_engine", without_options)
        monkeypatch.setattr(relay, "create_engine", without_options)

        for engine in (
            db.connect(normalize_database_url(installed), role="courses"),
            relay._engine(normalize_database_url(installed)),  # noqa: SLF001 the engine of Relay
        ):
            with pytest.raises(OperationalError, match="the role is shop instead of coursebus_"):
                engine.connect()

    def test_bridge_has_one_pool_for_each_database(self, server: OwnPostgres, monkeypatch: pytest.MonkeyPatch):
        urls = [server.url(f"coursebus_{login}", database="shop", password="x") for login in ("bridge", "courses")]

        shared = []
        for url in urls:
            monkeypatch.setattr(settings, "database_url", lambda _service, url=url: normalize_database_url(url))
            db.engine.cache_clear()
            shared.append(db.engine("courses") is db.engine("payments"))
        db.engine.cache_clear()

        assert shared == [True, False]

    def test_password_is_rotated_by_the_migrations(self, server: OwnPostgres, installed: str):
        assert server.migrate(installed, USERS_DATABASE_PASSWORD="rotated").returncode == 0

        assert run(server.url("coursebus_users", database="shop", password="rotated"), "SELECT 1") == [1]
        with pytest.raises(OperationalError, match="password authentication failed"):
            run(server.url("coursebus_users", database="shop", password="pw of users"), "SELECT 1")

    def test_bridge_login_reads_the_bus_of_every_service(self, server: OwnPostgres):
        url = server.url("coursebus_bridge", database="shop", password="pw of bridge")

        completed = subprocess.run(
            [sys.executable, "-m", "bridge", "jobs", "list"],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )

        assert completed.returncode == 0, completed.stderr
