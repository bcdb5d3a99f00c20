"""The log lines in a real index with the templates of ops/elk: each is accepted, and one trace covers one request.

make test ARGS="-m slow tests/e2e/test_log_index.py"
"""

import json
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import pytest

from core.db import utc_now
from settings import ROOT
from tests.e2e.harness import ScenarioHarness, eventually
from tests.e2e.logs import Logs
from tests.support.opensearch import Node, missing_requirement, running_node

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_requirement()), reason=missing_requirement() or "available"),
]

ELK = ROOT / "ops" / "elk"
LINES, DEAD_LINES = "logs-coursebus-default", "logs-coursebus.deadletter-default"  # as in ops/elk/filebeat.yml


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with the templates of ops/elk/setup.sh, without the lifecycle policies, which OpenSearch lacks."""
    with running_node(tmp_path_factory.mktemp("opensearch")) as node:
        for name in ("template", "template-deadletter"):
            template = json.loads((ELK / f"{name}.json").read_text())
            del template["template"]["settings"]["index.lifecycle.name"]
            node.put(f"_index_template/{name}", template)
        yield node


def saved_searches() -> dict[str, dict[str, Any]]:
    objects = [json.loads(line) for line in (ELK / "kibana.ndjson").read_text().splitlines()]
    return {each["id"]: each["attributes"] for each in objects if each["type"] == "search"}


def kuery(attributes: dict[str, Any]) -> str:
    """Convert the query of a saved search to Lucene syntax: capital operators, and ranges after the colon."""
    text = str(json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]["query"])
    return text.replace(" or ", " OR ").replace(" : ", ":").replace(" >= ", ":>=")


def test_trace_finds_request_from_http_to_mail(harness: ScenarioHarness, node: Node):
    logs = Logs(harness)
    learner = harness.learner()
    learner.profile()
    course_id = harness.paid_course(has_quiz=False)["id"]
    harness.pay(learner.check_out(course_id)["redirect_url"])
    eventually(lambda: learner.progress(course_id))
    *lessons, last = learner.lessons(course_id)
    for lesson_id in lessons:
        learner.complete(course_id, lesson_id)
    trace_id = token_hex(16)
    path = f"/v1/courses/{course_id}/lessons/{last}/completion"  # completes the course, which is mailed at once
    learner.person.put(path, traceparent=f"00-{trace_id}-{token_hex(8)}-01")
    eventually(lambda: any(line.get("coursebus", {}).get("state") == "sent" for line in logs.lines(trace_id)))

    lines = logs.lines()
    assert node.add(LINES, lines) == []
    assert node.get("_data_stream")["data_streams"][0]["template"] == "template"

    found = node.search(LINES, {"term": {"trace.id": trace_id}}, sort=["@timestamp"])
    logged = [(line["service"]["name"].removeprefix("coursebus-"), line["message"]) for line in found]
    assert {
        ("gateway", "request"),
        ("worker-progress", "task ended"),
        ("bridge", "event handled"),
        ("worker-notifications", "task ended"),
        ("worker-notifications", "delivery ended"),
    } <= set(logged)
    moments = [line["@timestamp"] for line in found]
    assert moments == sorted(line["@timestamp"] for line in lines if line.get("trace") == {"id": trace_id})
    # Only the completion, not the purchase before it.
    assert len(found) < len(lines) / 2

    payments = node.search(LINES, {"query_string": {"query": kuery(saved_searches()["coursebus-payments"])}})
    assert {line["service"]["name"] for line in payments} == {"coursebus-worker-payments"}


def test_saved_searches_show_existing_fields(node: Node):
    node.add(LINES, [log_line(coursebus={"task": "x.y", "handler": "x.y", "outcome": "done"})])
    known = node.get(f"{LINES}/_field_caps?fields=*")["fields"]
    columns = {column for attributes in saved_searches().values() for column in attributes["columns"]}
    assert columns - known.keys() == set()


def log_line(**more: Any) -> dict[str, Any]:
    return {"@timestamp": utc_now().isoformat(), "message": "text", "service": {"name": "coursebus-test"}, **more}


def test_custom_log_fields_have_stable_mappings(node: Node):
    lines = [log_line(coursebus={"left": left}) for left in (3, "none", 0.5, True, "2026-01-01T00:00:00Z")]
    assert node.add(LINES, lines) == []
    assert len(node.search(LINES, {"term": {"coursebus.left": "none"}})) == 1


def test_saved_search_finds_errors(node: Node):
    service = {"name": "coursebus-errors"}
    crashed = log_line(service=service, log={"level": "warning"}, coursebus={"outcome": "crashed"})
    failed = log_line(service=service, log={"level": "info"}, http={"response": {"status_code": 503}})
    logged = log_line(
        service=service, log={"level": "error"}, error={"message": "no", "stack_trace": "line\n" * 20_000}
    )
    refused = log_line(service=service, log={"level": "info"}, http={"response": {"status_code": 404}})
    assert node.add(LINES, [crashed, failed, logged, refused]) == []
    query = f"service.name:coursebus-errors AND ({kuery(saved_searches()['coursebus-errors'])})"
    assert len(node.search(LINES, {"query_string": {"query": query}})) == 3


def test_rejected_lines_go_to_dead_letter_index(node: Node):
    mistyped = log_line(message="odd", http={"response": {"status_code": "teapot"}}, error={"type": "json"})
    [refused] = node.add(LINES, [mistyped])
    assert refused["type"] == "mapper_parsing_exception"
    assert node.add(DEAD_LINES, [mistyped]) == []
    assert node.search(DEAD_LINES, {"match": {"message": "odd"}}) == [mistyped]
    streams = {stream["name"]: stream for stream in node.get("_data_stream")["data_streams"]}
    assert {name: stream["template"] for name, stream in streams.items()} == {
        LINES: "template",
        DEAD_LINES: "template-deadletter",
    }
    assert {stream["status"] for stream in streams.values()} == {"GREEN"}  # one node is enough
