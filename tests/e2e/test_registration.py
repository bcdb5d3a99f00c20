"""Scenario: the first request with a token creates a profile, a welcome mail and a notification."""

from .harness import ScenarioHarness


def test_first_request_is_served_and_creates_profile(harness: ScenarioHarness) -> None:
    learner = harness.learner()
    first = learner.get("/v1/me")
    assert first.status_code == 200
    assert first.json()["email"] == learner.person.email

    saved = learner.profile()

    assert (saved["id"], saved["email"]) == (first.json()["id"], learner.person.email)
    learner.wait_for_notifications(["USER_CREATED"], mails=1)


def test_unchanged_profile_returns_304(harness: ScenarioHarness) -> None:
    learner = harness.learner()
    learner.profile()
    first = learner.get("/v1/me")
    again = learner.get("/v1/me", If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
