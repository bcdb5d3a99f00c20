"""Rules of the code base that import-linter cannot check: unique names, and references to existing targets."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from celery_app import celery_app
from core.commands import Command
from core.db import Base
from core.messaging.task_queue import route_task
from models.events import Event, EventPayload, all_event_types
from models.events.routes import ROUTES, producers_of
from settings import ROOT, SERVICES
from workers.runtime.tasks import TASKS, TaskDefinition, check_signature

# Packages that the gateway process must not load.
NOT_IN_THE_GATEWAY = {"sqlalchemy", "psycopg2", "pymongo", "confluent_kafka", "workers", "bridge", "stripe", "yookassa"}
PACKAGES = ("core", "models", "workers", "bridge", "stream", "api", "web")
PRODUCT = [path for folder in PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))] + [ROOT / "celery_app.py"]

celery_app.loader.import_default_modules()  # registers the tasks of all services


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of the syntax tree of a file."""
    return list(ast.walk(ast.parse(path.read_text())))


def calls(path: Path) -> Iterator[ast.Call]:
    yield from (node for node in nodes(path) if isinstance(node, ast.Call))


def called(call: ast.Call) -> str:
    """Return ``f`` for ``f()`` and for ``x.f()``."""
    return getattr(call.func, "attr", None) or getattr(call.func, "id", "")


def of_service(path: Path) -> str | None:
    """Return the service of a file below workers/ or models/; None for shared code."""
    name = path.relative_to(ROOT).parts[1].removesuffix(".py")
    return name if name in SERVICES else None


def test_gateway_loads_no_driver_table_or_worker():
    program = "import sys, wsgi; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert not NOT_IN_THE_GATEWAY & set(loaded.stdout.split())


def test_events_are_registered_by_type_and_producer():
    assert all(Event.by_type[event.type] is event for event in all_event_types())
    assert {producer for event in all_event_types() for producer in producers_of(event.type)} <= set(SERVICES)


def test_settings_name_every_service():
    packages = {path.name.removesuffix(".py") for path in (ROOT / "workers").iterdir() if not path.name.startswith("_")}

    assert packages - {"common", "runtime"} == set(SERVICES)


def test_task_queue_and_module_share_service_name():
    queues = {queue.name for queue in celery_app.conf.task_queues}
    assert queues == set(SERVICES)
    for name, call in TASKS.items():
        service, _, verb = name.partition(".")
        module = call.fn.__module__.split(".")[1]
        assert module == service or (service in SERVICES and module in {"common", "runtime"})
        assert call.fn.__name__ == verb
        assert route_task(name) == {"queue": service}


def test_dependencies_of_every_task_are_provided():
    assert all(definition.dependencies is not None for definition in TASKS.values())  # TypeError otherwise


def test_task_with_unknown_dependency_is_refused():
    def task_without_provider(_unknown: Path) -> None: ...

    with pytest.raises(TypeError, match="no dependency for _unknown"):
        _ = TaskDefinition(task_without_provider).dependencies


def test_task_names_are_unique():
    named = [
        (of_service(path), node.name)
        for path in (ROOT / "workers").rglob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef)
        and any(_decorator(each).startswith(("task", "job", "batch_handler")) for each in node.decorator_list)
    ]
    assert len(named) == len(set(named))


def _decorator(node: ast.expr) -> str:
    return called(node) if isinstance(node, ast.Call) else getattr(node, "id", "")


@pytest.mark.parametrize("type_", ROUTES)
def test_routes_lead_to_tasks_that_accept_the_event(type_):
    event = Event.by_type[type_]
    for handler in ROUTES[type_]:
        call = TASKS[handler]
        # The inbox is written only for handlers with a session. Without it a redelivery would have its effect twice.
        assert Session in call.dependencies, f"{handler} has no parameter session"
        assert call.types["event"] in (event, EventPayload)
        assert set(call.fields) <= {"event", "event_id", "event_headers", "event_version"}


def test_event_handlers_are_routed():
    routed = {handler for handlers in ROUTES.values() for handler in handlers}
    assert {name for name, call in TASKS.items() if "event" in call.fields} == routed


def test_every_command_has_its_task():
    """Importing a task compares its message fields with those of its command."""
    sent = {task for task, command in Command.by_task.items() if command.__module__.startswith("models.commands.")}

    assert sent <= set(TASKS)


class ShowNote(Command, service="progress"):
    """The command of the functions below."""

    note_id: UUID
    limit: int = 20


def show_note(session: Session, *, note_id: UUID, limit: int = 20) -> None:
    """A task that fits the command."""


def with_missing_field(*, note_id: UUID) -> None: ...


def with_other_name(*, note: UUID, limit: int = 20) -> None: ...


def with_other_type(*, note_id: str, limit: int = 20) -> None: ...


def with_other_default(*, note_id: UUID, limit: int = 50) -> None: ...


def without_default(*, note_id: UUID, limit: int) -> None: ...


def test_task_with_the_fields_of_its_command_is_accepted():
    check_signature(show_note, ShowNote)


@pytest.mark.parametrize(
    ("function", "differing"),
    [
        (with_missing_field, "limit"),
        (with_other_name, "note, note_id"),
        (with_other_type, "note_id"),
        (with_other_default, "limit"),
        (without_default, "limit"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_task_that_differs_from_its_command_is_refused(function, differing):
    with pytest.raises(TypeError, match=rf"{function.__name__} and .*\.ShowNote differ in: {differing}$"):
        check_signature(function, ShowNote)


def test_no_task_is_scheduled_in_redis():
    """Long waits are rows of the jobs table: Redis could lose scheduled messages or deliver them twice."""
    violations = {
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in PRODUCT
        for call in calls(path)
        if {keyword.arg for keyword in call.keywords} & {"eta", "countdown"}
        or called(call) in {"apply_async", "delay", "send_task", "retry"}
    }
    assert not violations


def test_only_task_runtime_commits():
    committers = {
        path.relative_to(ROOT).as_posix()
        for path in PRODUCT
        if "bridge" not in path.parts  # the bridge executes no commands; it commits only audit marks and dead letters
        for call in calls(path)
        if called(call) in {"commit", "sessionmaker", "create_engine"}
        or (called(call) == "begin" and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Call))
    }
    # core/db.py creates the sessions, execution.py runs the transaction of a task.
    assert committers == {"core/db.py", "workers/runtime/execution.py"}


DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
DECISION_SECTIONS = ["Status", "Context", "Decision", "Alternatives considered", "Consequences", "Enforced by"]


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_decision_has_its_sections_and_names_existing_files(path):
    text = path.read_text()

    assert text.startswith(f"# {path.name[:4]}: ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == DECISION_SECTIONS
    enforced_by = text.partition("## Enforced by")[2]
    named = re.findall(r"`([\w./-]+/[\w.-]+)(?:::\w+)?`", enforced_by)
    assert not [each for each in named if not (ROOT / each).exists()]


def test_every_decision_is_in_the_index_under_its_title():
    titles = {path.name: path.read_text().partition("\n")[0].partition(": ")[2] for path in DECISIONS}
    index = (ROOT / "docs/decisions/README.md").read_text()

    indexed = re.findall(r"^\| \[\d{4}\]\((\S+)\) \| (.+?) \|", index, re.MULTILINE)

    assert sorted(indexed) == sorted(titles.items())


# Folders of tests/unit and tests/integration that are neither a service nor a package.
OTHER_SUBJECTS = {"chaos", "contracts", "maintenance", "mutants", "operations"}
KINDS_OF_TESTS = {"unit", "integration", "e2e", "chaos", "fakes", "image", "compose"}
TEST_FILES = [path.relative_to(ROOT / "tests").parts for path in sorted((ROOT / "tests").rglob("test_*.py"))]


def test_folders_of_tests_say_what_is_needed_and_what_is_tested():
    packages = {path.name for path in ROOT.iterdir() if path.is_dir()}

    assert {kind for kind, *_ in TEST_FILES} == KINDS_OF_TESTS
    subjects = {parts[1] for parts in TEST_FILES if parts[0] in {"unit", "integration"} and len(parts) > 2}
    assert subjects - {*SERVICES, *packages} == OTHER_SUBJECTS


_NAMED_TEST = re.compile(r"(?<![\w./-])tests/[\w/-]*[\w-](?:\.\w+)*")
_SUFFIXES_WITH_PATHS = {".md", ".py", ".toml", ".yml"}


def test_named_files_of_tests_exist():
    paths = [path for path in ROOT.rglob("*") if path.suffix in _SUFFIXES_WITH_PATHS and ".local" not in path.parts]
    named = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in [*paths, ROOT / "Makefile"]
        for name in _NAMED_TEST.findall(path.read_text())
    }

    assert len(named) > 100
    created = ("docs/extending.md", "tests/integration/feedback")  # by the reader
    assert not [each for each in named if not (ROOT / each[1]).exists() and not each[1].startswith(created[1])]


_PERSONAL = re.compile(
    r"(^|_)(email|address|url|secret|customer_id|method_id|note|sub|holder|detail|search|keys)$|^name$|^identity_name$"
)


def test_columns_with_personal_data_are_private():
    """The audit log is kept for good, so the values of these columns must not get there."""
    open_columns = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if table.schema in SERVICES and _PERSONAL.search(column.name) and not column.info.get("private")
    }

    covers = {f"{table}.cover_url" for table in ("courses", "course_versions", "catalogue")}
    assert open_columns == {"plans.name", *covers}


def test_local_requirements_contain_the_locked_ones():
    """``make install`` reads requirements-local.txt only; a package that is missing there is missing in CI."""
    locked, tracing, local = (
        set(re.findall(r"^([\w.-]+==\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "requirements-tracing.txt", "requirements-local.txt")
    )
    assert locked - tracing == set()
    assert tracing - local == set()
