"""The name on a certificate: of the day of issue, correctable by an administrator, and removed by an erasure."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.cache import cache_redis
from core.db import session_factory
from settings import SERVICES
from tests.integration.progress.builders import Learner
from tests.integration.users.event_delivery import deliver_pending_events
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.gateway import Person, gateway, running_worker, trust_test_tokens

pytestmark = pytest.mark.usefixtures("auth0_sync_disabled")


@pytest.fixture
def ann(database: Database, monkeypatch) -> Iterator[Person]:
    """A user who has completed a course and whose events are handled."""
    trust_test_tokens(monkeypatch)
    cache_redis().flushdb()
    with running_worker(*SERVICES):
        person = Person(gateway().test_client(), email=f"{uuid4().hex}@example.com", name="Ann Miller")
        user_id = UUID(person.get("/v1/me").json["id"])
        deliver_pending_events(database)
        with session_factory("progress").begin() as session:
            learner = Learner(session, lessons=1, user_id=user_id)
            learner.complete(learner.lessons[0])
        deliver_pending_events(database)
        yield person


@pytest.fixture
def admin(ann: Person) -> Person:
    return Person(ann.client, email=f"{uuid4().hex}@example.com", name="Admin", permissions=("users:admin",))


def code_of(person: Person) -> str:
    return str(person.get("/v1/me/certificates").json["items"][0]["code"])


def shown(person: Person, code: str) -> Any:
    return person.client.get(f"/v1/certificates/{code}").json


def rename(person: Person, name: str) -> None:
    version = person.get("/v1/me").headers["ETag"]
    assert person.send("PATCH", "/v1/me", {"name": name}, If_Match=version).status_code == 200


def test_certificate_keeps_name_of_the_day_of_issue(ann: Person, database: Database):
    code = code_of(ann)
    rename(ann, "Ann Smith")
    deliver_pending_events(database)

    assert shown(ann, code)["holder"] == "Ann Miller"
    assert "Ann Miller" in ann.client.get(f"/v1/certificates/{code}", headers={"Accept": "text/html"}).text


def test_redelivered_event_does_not_replace_the_name(ann: Person, admin: Person, database: Database):
    code = code_of(ann)
    rename(ann, "Ann Smith")
    admin.send("PATCH", f"/v1/certificates/{code}", {"holder": "Anna Miller"})
    database.execute("DELETE FROM bus.inbox WHERE handler = 'users.record_certificate_holder'")
    database.execute("UPDATE bus.outbox SET published_at = NULL WHERE type = 'CERTIFICATE_ISSUED'")
    deliver_pending_events(database)

    assert shown(ann, code)["holder"] == "Anna Miller"


def test_administrator_corrects_the_name_and_the_correction_is_recorded(ann: Person, admin: Person, database: Database):
    code = code_of(ann)
    corrected = admin.send("PATCH", f"/v1/certificates/{code.lower()}", {"holder": "Anna Miller"})

    assert (corrected.status_code, corrected.json) == (200, shown(ann, code))
    assert corrected.json["holder"] == "Anna Miller"
    admin_id = admin.get("/v1/me").json["id"]
    [(actor, subject)] = database.rows(
        "SELECT actor, subject FROM bus.staff_actions WHERE task = 'users.correct_certificate_holder'"
    )
    assert actor == f"user:{admin_id}"
    assert subject == {"user_id": ann.get("/v1/me").json["id"]}


def test_only_administrators_correct_names(ann: Person):
    response = ann.send("PATCH", f"/v1/certificates/{code_of(ann)}", {"holder": "Bob Brown"})

    assert (response.status_code, response.json["code"]) == (403, "insufficient_permission")


@pytest.mark.parametrize("holder", ["", "two\nlines", None])
def test_name_must_be_one_line_of_text(ann: Person, admin: Person, holder):
    assert admin.send("PATCH", f"/v1/certificates/{code_of(ann)}", {"holder": holder}).status_code == 422


def test_unknown_certificate_is_not_found(admin: Person):
    response = admin.send("PATCH", "/v1/certificates/0000-0000-0000-0000", {"holder": "Ann"})

    assert (response.status_code, response.json["code"]) == (404, "not_found")


def test_name_is_part_of_the_export(ann: Person, database: Database):
    ann.send("POST", "/v1/me/export", Idempotency_Key=uuid4().hex)
    deliver_pending_events(database)

    [certificate] = ann.get("/v1/me/export").json["services"]["users"]["certificates"]
    assert (certificate["code"], certificate["name"]) == (code_of(ann), "Ann Miller")


def test_erasure_removes_the_name_at_once_and_for_good(ann: Person, admin: Person, database: Database):
    code = code_of(ann)
    user_id = ann.get("/v1/me").json["id"]
    version = database.value("SELECT version FROM users.users WHERE id = :id", id=user_id)
    assert "result" in deliver("users.erase_own_account", {"sub": ann.sub, "expected_version": version})

    assert shown(ann, code)["holder"] is None
    assert admin.send("PATCH", f"/v1/certificates/{code}", {"holder": "Ann"}).status_code == 404
    # An event that arrives late must not store the name again.
    database.execute("DELETE FROM bus.inbox WHERE handler = 'users.record_certificate_holder'")
    database.execute("UPDATE bus.outbox SET published_at = NULL WHERE type = 'CERTIFICATE_ISSUED'")
    deliver_pending_events(database)
    assert database.count("users.certificate_holders") == 0
    assert ann.client.get(f"/v1/certificates/{code}").status_code == 404  # the progress is erased, too
