"""A mail is traced back to the request that caused it, by the headers of the outbox alone."""

from typing import Any

from .harness import ScenarioHarness, Visitor, eventually
from .test_authorization_matrix import person_with_permissions


def test_mail_is_traced_back_to_its_request(harness: ScenarioHarness):
    # The first request of this user creates the account, because no webhook of Auth0 precedes it.
    learner = Visitor(harness, person_with_permissions(harness.platform))
    request_ids = set()

    def signed_in() -> bool:
        answer = learner.person.get("/v1/me")  # a request that timed out may have created the account
        request_ids.add(answer.headers["X-Request-Id"])
        return answer.ok

    eventually(signed_in)
    user_id = learner.profile()["id"]

    def event(condition: str, value: str) -> dict[str, Any] | None:
        sql = f"SELECT id, type, headers FROM bus.outbox WHERE {condition}"  # noqa: S608 fixed text
        found = [
            {"id": str(row[0]), "type": row[1], **row[2]} for row in harness.platform.database.rows(sql, value=value)
        ]
        return found[0] if found else None

    sent = eventually(lambda: event("type = 'NOTIFICATION_SENT' AND payload ->> 'user_id' = :value", user_id))
    chain = [sent]
    while before := event("id::text = :value", chain[-1]["causation_id"]):
        chain.append(before)

    assert [each["type"] for each in chain] == ["NOTIFICATION_SENT", "USER_CREATED"]
    [request_id] = {each["request_id"] for each in chain}
    assert request_id in request_ids
    assert len({each["traceparent"].split("-")[1] for each in chain}) == 1
