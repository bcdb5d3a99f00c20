"""Clients that other tools generate from docs/openapi.json, against the running platform."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.generate_openapi import OPENAPI
from tests.support.polling import eventually

from .harness import ScenarioHarness

# The generator of the client calls ruff.
_PATH = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def generate(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", *map(str, arguments)], check=True, capture_output=True, env=_PATH)


def test_generated_client_takes_a_free_course(
    harness: ScenarioHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = ("--meta", "none", "--path", OPENAPI, "--output-path", tmp_path / "generated_client")
    generate("openapi_python_client", "generate", *made)
    monkeypatch.syspath_prepend(tmp_path)
    person = harness.platform.person()
    authenticated = importlib.import_module("generated_client").AuthenticatedClient
    with authenticated(base_url=person.url, token=person.token, raise_on_unexpected_status=True) as client:
        take_free_course(client, harness.free_course()["id"])


def take_free_course(client: Any, free_id: str) -> None:
    """List courses, enrol in a free one and complete its first lesson, by the generated functions."""

    def operation(name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = importlib.import_module(f"generated_client.api.{name}").sync
        return function

    def kinds_of_notifications() -> set[str]:
        found = operation("notifications.list_own_notifications")(client=client)
        return {each.data.kind for each in found.items}

    page = operation("courses.list_courses")(client=client, free=True, limit=100)
    course = next(each for each in page.items if str(each.id) == free_id)
    enrollment = operation("courses.create_enrollment")(course.id, client=client)
    lesson = operation("courses.get_course")(course.slug, client=client).sections[0].lessons[0]
    eventually(lambda: operation("courses.get_own_access")(course.id, client=client).access, "access")
    progress = operation("progress.complete_lesson")(course.id, lesson.id, client=client)

    assert (enrollment.course_id, progress.lessons_completed) == (course.id, 1)
    assert eventually(lambda: {"course_welcome", "lesson_completed"} <= kinds_of_notifications())


def test_generated_models_read_real_answers(harness: ScenarioHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = ("--output-model-type", "msgspec.Struct", "--formatters", "builtin", "--input", OPENAPI)
    generate("datamodel_code_generator", "--input-file-type", "openapi", *made, "--output", tmp_path / "generated.py")
    monkeypatch.syspath_prepend(tmp_path)
    models, paths = importlib.import_module("generated"), json.loads(OPENAPI.read_text())["paths"]
    learner, course = harness.platform.person(), harness.free_course()
    learner.post(f"/v1/courses/{course['id']}/enrollments", {})
    eventually(lambda: learner.get("/v1/me/notifications").json()["items"], "notifications")

    for path in ("/v1/courses", "/v1/courses/{ref}", "/v1/me", "/v1/me/courses", "/v1/me/notifications"):
        schema = paths[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        type_ = getattr(models, schema["$ref"].rpartition("/")[2])
        assert msgspec.json.decode(learner.get(path.format(ref=course["slug"])).content, type=type_)
