"""The command line against a server that answers what a test scripts: output, exit codes, what to do next."""

import base64
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from coursebus import models
from coursebus.cli import _main
from coursebus.cli._doctor import check_status
from coursebus.cli._failures import ExitCode
from coursebus.cli._output import money

from settings import ROOT
from tests.unit.clients.test_client import ScriptedServer, problem, server

__all__ = ["server"]  # a fixture

PERSON = "0190f0a0-0000-7000-8000-000000000001"
COURSE = "0190f0a0-0000-7000-8000-000000000002"
JOB = {"kind": "payments.expire_orders", "last_slot": "2026-01-31T00:00:00Z", "last_success_at": None, "attempts": 5}
JOBS = {"jobs": [JOB | {"failed_slots": ["2026-01-31T00:00:00Z"], "last_error": "no connection"}]}


def token(*, expires_in: float = 3600) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + expires_in}).encode()).decode().rstrip("=")
    return f"e30.{claims}.x"


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: ScriptedServer) -> Path:
    for name in [name for name in os.environ if name.startswith("COURSEBUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COURSEBUS_CONFIG", str(tmp_path / "coursebus" / "config.json"))
    monkeypatch.setenv("COURSEBUS_URL", server.url)
    monkeypatch.setenv("COURSEBUS_AUTH_URL", server.url)
    return tmp_path / "coursebus" / "config.json"


@pytest.mark.parametrize(
    ("answer", "exit_code", "next_step"),
    [
        (problem(401, "token_invalid"), ExitCode.NOT_ALLOWED, "coursebus login"),
        (problem(403, "insufficient_permission"), ExitCode.NOT_ALLOWED, "coursebus whoami"),
        (problem(404, "not_found"), ExitCode.NOT_FOUND, "Check the id"),
        (problem(409, "access_purchased"), ExitCode.CONFLICT, "coursebus refunds create"),
        (problem(412, "precondition_failed"), ExitCode.CONFLICT, "run the command again"),
        (problem(422, "validation_failed"), ExitCode.INVALID, "Correct the values"),
        ((503, {"Retry-After": "600"}, {"code": "unavailable"}), ExitCode.TEMPORARY, "coursebus doctor"),
        ((500, {}, {}), ExitCode.FAILED, "coursebus doctor"),
    ],
)
def test_error_of_the_api_has_exit_code_and_next_step(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], answer: Any, exit_code: int, next_step: str
):
    server.answers = [answer, answer]

    assert _main.run(["people", "show", PERSON, "--json"]) == exit_code
    printed = capsys.readouterr()
    assert (printed.out, next_step in json.loads(printed.err)["error"]["next"]) == ("", True)

    assert _main.run(["people", "show", PERSON]) == exit_code
    assert "Next: " in capsys.readouterr().err


def test_invalid_fields_and_request_id_are_printed(server: ScriptedServer, capsys: pytest.CaptureFixture[str]):
    places = [{"parameter": "status", "detail": "Must be one of: open."}]
    server.answers = [problem(422, "validation_failed", errors=places)]

    assert _main.run(["dead-letters", "list", "--status", "x"]) == ExitCode.INVALID
    assert "status: Must be one of: open." in (printed := capsys.readouterr().err)
    assert "Request r1" in printed


def test_api_that_does_not_answer_is_temporary(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COURSEBUS_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("coursebus._client.time.sleep", lambda _: None)

    assert _main.run(["jobs", "list"]) == ExitCode.TEMPORARY
    assert "COURSEBUS_URL" in capsys.readouterr().err
    assert _main.run(["doctor"]) == ExitCode.FAILED
    assert "PROBLEM  API" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["jobs", "unknown"], ["orders", "show"], ["access", "grant", COURSE]])
def test_wrong_arguments_are_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert _main.run([*arguments, "--json"]) == ExitCode.USAGE
    assert "error" in json.loads(capsys.readouterr().err)


def test_list_is_a_table_or_json(server: ScriptedServer, capsys: pytest.CaptureFixture[str]):
    server.answers = [(200, {}, JOBS), (200, {}, JOBS), (200, {}, {"jobs": []})]

    assert _main.run(["jobs", "list"]) == ExitCode.OK
    table = capsys.readouterr().out
    assert _main.run(["jobs", "list", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == JOBS["jobs"]
    assert table.splitlines()[0].split() == [*JOB, "failed_slots", "last_error"]
    assert "2026-01-31 00:00:00" in table.splitlines()[1]
    assert _main.run(["jobs", "list"]) == ExitCode.OK
    assert "None." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [(1900, "EUR", "19.00 EUR"), (5, "USD", "0.05 USD"), (1900, "JPY", "1900 JPY"), (1900, "KWD", "1.900 KWD")],
)
def test_amounts_are_shown_in_units(amount_minor: int, currency: str, text: str):
    assert money(amount_minor, currency) == text


def test_json_stands_anywhere_but_after_the_end_of_options():
    assert _main.with_json_first(["orders", "list", "--json"]) == ["--json", "orders", "list"]
    assert _main.with_json_first(["people", "find", "--", "--json"]) == ["people", "find", "--", "--json"]


def access(*reasons: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
    shown = {"user_id": PERSON, "course_id": COURSE, "access": False, "since": None, "until": None}
    return 200, {}, shown | {"reasons": list(reasons)}


def test_access_is_explained(server: ScriptedServer, capsys: pytest.CaptureFixture[str]):
    reason = {"kind": "order", "state": "refunded", "gives_access": False, "detail": "Refunded in full."}
    reason |= {
        "since": None,
        "until": None,
        "order_id": "o-1",
        "subscription_id": None,
        "granted_by": None,
        "problem": None,
    }
    server.answers = [access(reason), access()]

    assert _main.run(["access", "why", PERSON, COURSE]) == ExitCode.OK
    printed = capsys.readouterr().out
    assert "Has no access." in printed
    assert "refunded" in printed
    assert _main.run(["access", "why", PERSON, COURSE]) == ExitCode.OK
    assert "coursebus access grant" in capsys.readouterr().err


def test_one_person_who_gets_no_access_does_not_stop_the_others(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    people = tmp_path / "people.txt"
    people.write_text(f"{PERSON}\n\nunknown@example.com\n")
    server.answers = [access(), (200, {}, {"items": [], "next_cursor": None, "total": None})]

    assert _main.run(["access", "grant", COURSE, "--file", str(people), "--json"]) == ExitCode.FAILED
    done = json.loads(capsys.readouterr().out)
    assert (len(done["granted"]), [each["code"] for each in done["failed"]]) == (1, ["person_not_found"])


@pytest.mark.parametrize(("command", "failed"), [("enroll", []), ("unenroll", ["access_purchased"])])
def test_list_of_addresses_is_followed_until_its_end(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, failed: list[str]
):
    people = tmp_path / "people.csv"
    people.write_text("email\nann@example.com\n")
    operation = {"id": f"courses-{COURSE}", "kind": "courses.create_enrollment_batch", "status": "running"}
    batch = {"id": COURSE, "course_id": COURSE, "author_id": PERSON, "action": command, "ends_at": None}
    batch |= {"rows_total": 1, "rows_done": 0, "counts": {}, "created_at": "2026-01-31T00:00:00Z", "finished_at": None}
    ended = batch | {"rows_done": 1, "counts": dict.fromkeys(failed or ["invited"], 1), "finished_at": "2026-01-31"}
    rows = [{"line": 2, "email": "ann@example.com", "result": result} for result in failed]
    server.answers = [
        (202, {}, operation | {"result": None, "error": None, "created_at": "2026-01-31", "finished_at": None}),
        *((200, {}, each) for each in (batch, ended)),
        (200, {}, {"items": rows, "next_cursor": None}),
    ]

    assert _main.run([command, COURSE, "--csv", str(people), "--json"]) == (ExitCode.FAILED if failed else ExitCode.OK)
    assert json.loads(capsys.readouterr().out) == ended | {"failed": rows}
    assert json.loads(server.requests[0][2])["csv"] == people.read_text()


def test_irreversible_command_asks_first(server: ScriptedServer, capsys: pytest.CaptureFixture[str]):
    assert _main.run(["access", "revoke", COURSE, PERSON, "--json"]) == ExitCode.USAGE
    assert "--yes" in json.loads(capsys.readouterr().err)["error"]["next"]
    assert server.requests == []


def test_token_file_is_readable_by_its_owner_only(
    server: ScriptedServer, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    server.answers = [(200, {}, {"access_token": token()}), problem(404), problem(404)]

    assert _main.run(["login", "--demo", "admin"]) == ExitCode.OK
    assert config.stat().st_mode & 0o777 == 0o600
    _main.run(["jobs", "list"])
    assert server.requests[-1][1]["Authorization"] == f"Bearer {json.loads(config.read_text())['token']}"
    monkeypatch.setenv("COURSEBUS_TOKEN", "other")
    _main.run(["jobs", "list"])
    assert server.requests[-1][1]["Authorization"] == "Bearer other"

    config.chmod(0o644)
    capsys.readouterr()
    assert _main.run(["whoami"]) == ExitCode.FAILED
    assert f"Next: chmod 600 {config}" in capsys.readouterr().err.replace("\n", "")
    config.chmod(0o600)
    assert _main.run(["logout"]) == ExitCode.OK
    assert json.loads(config.read_text()).get("token", "") == ""


def test_demo_user_signs_in_at_a_local_stack_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COURSEBUS_AUTH_URL", "https://tenant.example")

    assert _main.run(["login", "--demo", "admin"]) == ExitCode.USAGE
    assert "without --demo" in capsys.readouterr().err


DEVICE = {"device_code": "d", "user_code": "AB-CD", "verification_uri": "http://x", "expires_in": 60, "interval": 0}


@pytest.mark.parametrize(
    ("answers", "exit_code"),
    [
        ([(403, {}, {"error": "authorization_pending"}), (200, {}, {"access_token": token()})], ExitCode.OK),
        ([(403, {}, {"error": "access_denied", "error_description": "no"})], ExitCode.NOT_ALLOWED),
        ([(403, {}, {"error": "expired_token"})], ExitCode.NOT_ALLOWED),
    ],
)
def test_device_flow_waits_for_the_user(
    server: ScriptedServer, config: Path, capsys: pytest.CaptureFixture[str], answers: list[Any], exit_code: int
):
    server.answers = [(200, {}, DEVICE), *answers]

    assert _main.run(["login"]) == exit_code
    assert "AB-CD" in capsys.readouterr().err
    assert config.exists() == (exit_code == ExitCode.OK)


def test_imported_course_that_cannot_be_published_is_removed(server: ScriptedServer, tmp_path: Path):
    file = tmp_path / "course.json"
    fields = {"title": "T", "category": "c", "level": "beginner", "language": "en"}
    fields |= {"price": {"amount_minor": 0, "currency": "EUR"}}
    lesson = {"title": "L", "kind": "text", "content": {"body": "x"}}
    file.write_text(
        json.dumps(
            {"format": "coursebus.course/1", "course": fields, "sections": [{"title": "S", "lessons": [lesson]}]}
        )
    )
    course = fields | {"id": COURSE, "slug": "t", "status": "draft", "summary": "", "tags": [], "description": ""}
    course |= {"cover_url": None, "instructor_id": PERSON, "sequential": False, "prerequisites": [], "lessons_total": 0}
    course |= {"duration_seconds": 0, "sections": [], "published_at": None, "version": 1}
    server.answers = [(201, {}, course), problem(422), (200, {}, course), (204, {}, None)]

    assert _main.run(["courses", "import", "--publish", str(file)]) == ExitCode.INVALID
    assert server.requests[-1][0] == f"DELETE /v1/courses/{COURSE}"
    file.write_text("{}")
    assert _main.run(["courses", "import", str(file)]) == ExitCode.INVALID


NOW = datetime(2026, 1, 31, tzinfo=UTC)
SERVICE = {
    "service": "payments",
    "responds": True,
    "queued_messages": 0,
    "oldest_message_seconds": 0.0,
    "unpublished_events": 0,
    "oldest_unpublished_at": None,
    "quarantined_events": 0,
    "dead_letters": 0,
    "failed_jobs": [],
    "worker_clock": NOW.isoformat(),
    "database_clock": NOW.isoformat(),
}


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ({}, []),
        ({"responds": False, "failed_jobs": None}, ["payments"]),
        ({"oldest_message_seconds": 60.0}, ["payments queue"]),
        ({"oldest_unpublished_at": (NOW - timedelta(minutes=5)).isoformat()}, ["payments events"]),
        ({"oldest_unpublished_at": NOW.isoformat()}, []),
        ({"quarantined_events": 1, "dead_letters": 2}, ["payments quarantine", "payments dead letters"]),
        ({"failed_jobs": ["payments.expire_orders"]}, ["payments jobs"]),
        ({"database_clock": (NOW + timedelta(minutes=1)).isoformat()}, ["payments clocks"]),
    ],
)
def test_doctor_finds_problems_and_says_what_to_do(fields: dict[str, Any], problems: list[str]):
    status = msgspec.convert({"gateway_clock": NOW.isoformat(), "services": [SERVICE | fields]}, models.Status)
    checks = list(check_status(status, local=NOW))

    assert [check.name for check in checks if check.state == "problem"] == problems
    assert all(check.next for check in checks if check.state == "problem")


def test_doctor_compares_this_clock():
    status = msgspec.convert({"gateway_clock": NOW.isoformat(), "services": []}, models.Status)

    assert [check.state for check in check_status(status, local=NOW - timedelta(minutes=1))] == ["problem"]


def test_shell_completes_commands():
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "clients/python/src")}
    environ |= {"_COURSEBUS_COMPLETE": "complete_bash", "COMP_WORDS": "coursebus acc", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "coursebus"], env=environ, capture_output=True, text=True, check=False, timeout=30
    )

    assert done.stdout.split() == ["access"], done.stderr
