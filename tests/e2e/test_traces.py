"""One trace of OpenTelemetry leads from a request over queue, database, Kafka and handler to the mail."""

from secrets import token_hex

from tests.support import environment
from tests.support.collector import ReceivedSpan, running_collector
from tests.support.polling import eventually

from .harness import ScenarioHarness, Visitor
from .test_authorization_matrix import person_with_permissions

WAY = [
    ("coursebus-gateway", "GET /v1/me"),
    ("coursebus-worker-users", "users.get_or_create_user"),
    ("coursebus-bridge", "publish users"),
    ("coursebus-worker-notifications", "notifications.send_welcome"),
    ("coursebus-worker-notifications", "notifications.deliver_email"),
    ("coursebus-worker-notifications", "smtp send"),
]


def way_to(name: str, spans: dict[str, ReceivedSpan]) -> list[tuple[str, str]]:
    """Return the processes and names of the spans from the first one to ``name``."""
    found = next((each for each in spans.values() if each.name == name), None)
    way = []
    while found is not None:
        way.append((found.process, found.name))
        found = spans.get(found.parent_id)
    return way[::-1]


def test_one_trace_leads_from_a_request_to_its_mail(harness: ScenarioHarness):
    learner = Visitor(harness, person_with_permissions(harness.platform))
    trace_id, traceparents = token_hex(16), set()

    def signed_in() -> bool:
        span_id = token_hex(8)
        traceparents.add(span_id)
        return learner.person.get("/v1/me", traceparent=f"00-{trace_id}-{span_id}-01").ok

    with running_collector(environment.COLLECTOR_PORT) as collector:
        eventually(signed_in)  # the first request of this user creates the account, which sends a mail
        eventually(lambda: len(way_to("smtp send", collector.of_trace(trace_id))) >= len(WAY))
        eventually(lambda: any(each.name.startswith("INSERT users.") for each in collector.of_trace(trace_id).values()))
        spans = collector.of_trace(trace_id)

    assert way_to("smtp send", spans) == WAY
    parents = {span.parent_id for span in spans.values() if span.name == WAY[0][1]}
    assert parents <= traceparents
    [insert, *_] = [span for span in spans.values() if span.name.startswith("INSERT users.")]
    assert spans[insert.parent_id].name == WAY[1][1]
    assert "@" not in str([span.attributes for span in spans.values()])  # parameters of statements are not sent
