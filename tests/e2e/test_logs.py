"""The logs of a purchase and a completion: ECS JSON, one trace from HTTP to the mail, no secrets."""

import json
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

from settings import ROOT
from tests.e2e.harness import ScenarioHarness, eventually
from tests.e2e.logs import Logs

TEMPLATE = json.loads((ROOT / "ops" / "elk" / "template.json").read_text())["template"]["mappings"]["properties"]


def flat(line: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in line.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def mapped_fields() -> set[str]:
    def names(properties: dict[str, Any], path: str = "") -> Iterator[str]:
        for name, mapping in properties.items():
            if "properties" in mapping:
                yield from names(mapping["properties"], f"{path}{name}.")
            else:
                yield f"{path}{name}"

    return {*names(TEMPLATE), "ecs.version"}


def test_trace_follows_request_from_http_to_mail(harness: ScenarioHarness):
    learner = harness.learner()
    learner.profile()
    logs = Logs(harness)
    course_id = harness.paid_course()["id"]
    checkout = learner.check_out(course_id)
    harness.pay(checkout["redirect_url"])
    eventually(lambda: learner.progress(course_id))
    *others, lesson_id = learner.lessons(course_id)
    for other in others:
        assert learner.person.put(f"/v1/courses/{course_id}/lessons/{other}/completion").ok
    trace_id = token_hex(16)
    path = f"/v1/courses/{course_id}/lessons/{lesson_id}/completion"
    learner.person.put(path, traceparent=f"00-{trace_id}-{token_hex(8)}-01")

    def logged(service: str, message: str, **fields: str) -> bool:
        return any(
            (line["service"]["name"], line["message"]) == (f"coursebus-{service}", message)
            and line.get("coursebus", {}).items() >= fields.items()
            for line in logs.lines(trace_id)
        )

    eventually(lambda: logged("worker-notifications", "delivery ended", state="sent"))
    assert logged("gateway", "request")
    assert logged("worker-progress", "task ended", task="progress.complete_lesson", outcome="done")
    assert logged("bridge", "event handled", handler="notifications.send_lesson_completed", type="LESSON_COMPLETED")
    assert logged("worker-notifications", "task ended", task="notifications.send_lesson_completed", outcome="done")

    for line in logs.lines():
        assert {"@timestamp", "log.level", "message", "service"} <= line.keys()
        unmapped = {name for name in flat(line) if not name.startswith("coursebus.")} - mapped_fields()
        assert not unmapped, f"the index has no mapping for {unmapped}"
    token, email = learner.person.token, learner.person.email
    leaks = [(name, text) for name, text in logs.texts() if token in text or email in text or "sk_test" in text]
    assert leaks == []
