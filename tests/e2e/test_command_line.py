"""The command line against the running stack: an administrator looks after a course, a person and the services."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from coursebus.cli import _main

from tests.support.platform import Platform
from tests.support.polling import eventually

Run = Callable[..., Any]


@pytest.fixture
def run(stack: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COURSEBUS_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setenv("COURSEBUS_URL", stack.url)
    monkeypatch.setenv("COURSEBUS_AUTH_URL", stack.auth0)
    monkeypatch.setenv("COURSEBUS_AUDIENCE", "")

    def call(*arguments: str, status: int = 0) -> Any:
        capsys.readouterr()
        assert _main.run([*arguments, "--json"]) == status, capsys.readouterr()
        printed = capsys.readouterr()
        lines = (printed.err if status else printed.out).splitlines()
        return [json.loads(line) for line in lines] if arguments[0] == "events" else json.loads("".join(lines))

    return call


def sign_in_by_device_flow() -> None:
    source = Path("clients/python/src").resolve()
    environ = {**os.environ, "PYTHONPATH": str(source)}
    with subprocess.Popen(
        [sys.executable, "-m", "coursebus", "login"], env=environ, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        [page] = re.findall(r"Open (\S+)", process.stderr.readline())
        confirmed = requests.post(page, data={"email": "admin@demo.test", "password": "demo"}, timeout=10)
        assert confirmed.ok, confirmed.text
        assert process.wait(timeout=20) == 0


def test_administrator_looks_after_course_person_and_services(run: Run, stack: Platform, tmp_path: Path):
    assert run("whoami", status=3)["error"]["next"].startswith("Sign in")
    sign_in_by_device_flow()
    assert "ops:admin" in run("whoami")["permissions"]
    eventually(lambda: run("whoami")["version"] >= 2, "the profile")

    source = next(each for each in run("courses", "list") if each["price"]["amount_minor"] > 0)
    file = str(tmp_path / "course.json")
    run("courses", "export", source["slug"], "--output", file)
    course = run("courses", "import", file, "--publish")
    assert (course["title"], course["status"]) == (source["title"], "published")
    assert [len(each["lessons"]) for each in json.loads(Path(file).read_text())["sections"]] == [
        len(each["lessons"]) for each in course["sections"]
    ]

    person = stack.person()
    person_id = person.get("/v1/me").json()["id"]
    eventually(lambda: [each["id"] for each in run("people", "find", person.email)] == [person_id], "the person")
    assert run("access", "why", person.email, course["slug"])["reasons"] == []
    granted = run("access", "grant", course["slug"], person.email, "unknown@example.invalid", status=1)
    assert granted["error"]["code"] == "person_not_found"
    assert run("access", "why", person.email, course["slug"])["access"]
    assert [each["email"] for each in run("courses", "learners", course["slug"])] == [person.email]
    shown = run("people", "show", person.email)
    assert [each["course_id"] for each in shown["enrollments"]] == [course["id"]]
    assert not run("access", "revoke", course["slug"], person.email, "--yes")["access"]

    changes = run("audit", "list", "--subject", person_id, "--kind", "change")
    assert [each["command"] for each in changes] == ["courses.revoke_access", "courses.enroll_user_as_admin"]
    assert run("audit", "list", "--subject", person_id, "--kind", "read")
    assert {each["kind"] for each in run("jobs", "list")}
    assert run("dead-letters", "list") == []
    assert all(each["state"] != "problem" for each in run("doctor")["checks"])
    assert run("events", "tail", "--no-follow") == []
    last = run("events", "tail", "--after", "0", "--type", "USER_CREATED", "--no-follow")[-1]
    assert last["type"] == "USER_CREATED"

    assert run("erase", person.email, "--yes", "--timeout", "60")
    assert run("people", "show", person_id, status=4)["error"]["code"] == "not_found"
    assert run("operations", "list", "--all")[0]["result"] is None
