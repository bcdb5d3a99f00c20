"""The local database is migrated, and demo content is added to it only, and only while it has no other users."""

from collections.abc import Iterator

import pytest

from ops.dev import __main__ as control
from ops.dev import stack as stack_module
from ops.dev.demo import PEOPLE_PENDING, has_people, is_migrated, is_unused, sub_of
from ops.dev.ports import free_base
from ops.dev.stack import Stack
from tests.support import environment
from tests.support.own_postgres import OwnPostgres, running_postgres

INSERT_USER = """
    INSERT INTO users.users (id, version, sub, email, locale, timezone, roles, created_at)
    VALUES (gen_random_uuid(), 1, '{sub}', NULL, 'en', 'UTC', '[]', now())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPostgres]:
    with running_postgres(tmp_path_factory.mktemp("postgres")) as server:
        assert server.migrate(server.url()).returncode == 0
        yield server


@pytest.mark.parametrize(("email", "expected"), [("instructor@demo.test", True), ("ann@example.com", False)])
def test_database_with_instructors_of_the_demo_only_is_unused(server: OwnPostgres, email, expected):
    server.execute("DELETE FROM users.users", INSERT_USER.format(sub=sub_of(email)))

    assert is_unused(server.port) is expected
    assert has_people(server.port) is not expected


def test_complete_demo_content_is_not_added_again(server: OwnPostgres):
    server.execute("DELETE FROM users.users")
    assert is_unused(server.port)

    server.execute(
        """INSERT INTO payments.coupons (id, code, kind, value, created_at)
        VALUES (gen_random_uuid(), 'WELCOME', 'percent', 10, now())"""
    )

    assert not is_unused(server.port)


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_URL_FILE"])
def test_database_of_the_user_is_never_seeded(tmp_path, monkeypatch, name):
    stack = Stack(tmp_path, free_base(), environ=environment.PLATFORM_ENVIRON | {name: "given"})
    modules: list[str] = []
    monkeypatch.setattr(stack, "_run", lambda *module, **_: modules.append(module[0]))
    monkeypatch.setattr(stack_module, "is_unused", lambda _port: True)

    stack._prepare()  # noqa: SLF001

    assert modules == ["migrations"]


@pytest.mark.parametrize("name", ["DATABASE_URL", "STRIPE_SECRET_KEY", "AUTH0_DOMAIN"])
def test_demo_people_are_added_only_beside_fakes_and_an_own_database(tmp_path, monkeypatch, name):
    monkeypatch.setattr(control, "has_people", lambda _port: False)
    stack = Stack(tmp_path, free_base(), environ=environment.PLATFORM_ENVIRON | {name: "given"})

    assert not control.start_adding_people(stack)


def test_interrupted_demo_people_are_continued(tmp_path, monkeypatch):
    started: list[object] = []
    monkeypatch.setattr(control.subprocess, "Popen", lambda command, **_: started.append(command[-1]))
    stack = Stack(tmp_path, free_base(), environ=environment.PLATFORM_ENVIRON)
    stack.supervisor.logs.mkdir(parents=True)
    with_people = [False, True]
    monkeypatch.setattr(control, "has_people", lambda _port: with_people.pop(0))

    assert control.start_adding_people(stack)
    assert (tmp_path / PEOPLE_PENDING).exists()
    assert control.start_adding_people(stack)
    (tmp_path / PEOPLE_PENDING).unlink()  # as the process does at its end
    assert not control.start_adding_people(stack)
    assert started == ["ops.dev.demo_people"] * 2


def test_new_local_database_is_migrated_and_seeded(tmp_path, monkeypatch):
    stack = Stack(tmp_path, free_base(), environ=environment.PLATFORM_ENVIRON)
    modules: list[str] = []
    monkeypatch.setattr(stack, "_run", lambda *module, **_: modules.append(module[0]))
    for is_new in (True, False):
        monkeypatch.setattr(stack_module, "is_migrated", lambda _port, answer=not is_new: answer)
        monkeypatch.setattr(stack_module, "is_unused", lambda _port, answer=is_new: answer)
        stack._prepare()  # noqa: SLF001

    assert modules == ["migrations", "ops.dev.seed"]


def test_database_without_the_last_migration_is_migrated(server: OwnPostgres):
    assert is_migrated(server.port)

    server.execute("UPDATE alembic_version SET version_num = '0001'")
    assert not is_migrated(server.port)

    server.execute("ALTER TABLE alembic_version RENAME TO of_an_empty_database")
    assert not is_migrated(server.port)
