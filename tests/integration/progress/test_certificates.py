"""Certificates: documents by Accept, templates, periods of validity, revocation by staff and after a refund."""

import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pypdf import PdfReader

import settings
from core.cache import cache_redis
from core.db import session_factory, utc_now
from models.events import (
    CoursePurchased,
    DisputeClosed,
    DisputeOpened,
    EnrollmentCreated,
    EnrollmentEnded,
    PaymentRefunded,
)
from settings import SERVICES
from tests.integration.courses.factories import make_course
from tests.integration.progress.builders import Learner
from tests.integration.users.event_delivery import deliver_pending_events
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import build_event
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens

pytestmark = pytest.mark.usefixtures("auth0_sync_disabled")


@pytest.fixture
def auth0_sync_disabled(monkeypatch) -> None:
    monkeypatch.setattr(settings, "AUTH0_SYNC_ENABLED", False)


@pytest.fixture
def ann(database: Database, monkeypatch) -> Iterator[Person]:
    """A user who has completed a course and whose events are handled."""
    trust_test_tokens(monkeypatch)
    cache_redis().flushdb()
    with running_worker(*SERVICES):
        person = Person(gateway().test_client(), email=f"{uuid4().hex}@example.com", name="Анна #Miller")
        user_id = UUID(person.get("/v1/me").json["id"])
        deliver_pending_events(database)
        with session_factory("progress").begin() as session:
            learner = Learner(session, lessons=1, user_id=user_id)
            learner.complete(learner.lessons[0])
        deliver_pending_events(database)
        yield person


@pytest.fixture
def staff(ann: Person) -> Person:
    return Person(ann.client, email=f"{uuid4().hex}@example.com", name="Staff", permissions=("users:admin",))


def certificate_of(person: Person) -> dict[str, Any]:
    [certificate] = person.get("/v1/me/certificates").json["items"]
    return dict(certificate)


def fetch(person: Person, code: str, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return person.client.get(f"/v1/certificates/{code}", headers=named)


def revoke(person: Person, code: str, reason: Any = "Issued by mistake.") -> Any:
    return person.send("POST", f"/v1/certificates/{code}/revoke", {"reason": reason})


def reinstate(person: Person, code: str) -> Any:
    return person.send("POST", f"/v1/certificates/{code}/reinstate")


def revocations(database: Database) -> int:
    return int(database.value("SELECT count(*) FROM bus.outbox WHERE type = 'CERTIFICATE_REVOKED'"))


def text_of(pdf: bytes) -> str:
    return " ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


def set_template(course_id: str, version: int = 1, **design: Any) -> dict[str, Any]:
    message = {"course_id": course_id, "expected_version": version, "design": design}
    return deliver("progress.replace_certificate_template", message)


def end_access(database: Database, reason: str) -> None:
    """Deliver the end of the learner's only enrollment."""
    _deliver_enrollment(database, EnrollmentEnded, "progress.close_course_progress", version=10, reason=reason)


def give_access(database: Database, version: int = 11) -> None:
    _deliver_enrollment(database, EnrollmentCreated, "progress.start_course", version=version)


def _deliver_enrollment(database: Database, event_class: Any, handler: str, *, version: int, **fields: Any) -> None:
    [(user_id, course_id)] = database.rows("SELECT user_id, course_id FROM progress.course_progress")
    event = build_event(event_class, user_id=user_id, course_id=course_id, **fields)
    headers = {"ce_sequence": str(version)}
    deliver(handler, {"event": event}, event_id=uuid4(), event_headers=headers)


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["Certificate of completion", "has completed the course", "Certificate number", "Verify"]),
        ("ru", ["Сертификат выпускника", "Пройден курс", "Номер сертификата", "Проверить сертификат"]),
    ],
)
def test_pdf_has_the_texts_of_the_certificate_in_the_preferred_language(ann: Person, language: str, expected):
    code = certificate_of(ann)["code"]

    response = fetch(ann, code, Accept="application/pdf", Accept_Language=language)

    assert (response.status_code, response.content_type) == (200, "application/pdf")
    text = text_of(response.data)
    shown = [*expected, "Анна #Miller", "Bread", code, f"{settings.WEB_URL}/c/{code}", "Coursebus"]
    assert [each for each in shown if each not in text] == []
    assert PdfReader(io.BytesIO(response.data)).metadata.author == "Coursebus"


def test_markup_in_names_is_shown_as_text(ann: Person, staff: Person):
    code = certificate_of(ann)["code"]
    staff.send("PATCH", f"/v1/certificates/{code}", {"holder": '#read("/etc/passwd") *Ann* $x$'})

    assert '#read("/etc/passwd") *Ann* $x$' in text_of(fetch(ann, code, Accept="application/pdf").data)


def test_pdf_of_names_outside_the_fonts_has_the_other_texts(ann: Person, staff: Person):
    certificate = certificate_of(ann)
    code = certificate["code"]
    staff.send("PATCH", f"/v1/certificates/{code}", {"holder": "李明 🎉 Ann"})
    set_template(certificate["course_id"], title="Diplôme 证书", signatory_name="山田 Ada")

    response = fetch(ann, code, Accept="application/pdf")

    assert response.status_code == 200
    text = text_of(response.data)
    assert [each for each in ("Ann", "Diplôme", "Ada", code) if each not in text] == []


def test_document_is_chosen_by_accept(ann: Person):
    code = certificate_of(ann)["code"]
    expected = {
        "*/*": (200, "application/json"),
        "application/*": (200, "application/json"),
        "text/html, application/json;q=0.9": (200, "text/html; charset=utf-8"),
        "text/*;q=0.5, application/pdf": (200, "application/pdf"),
        "image/png": (406, "application/problem+json"),
        "application/json;q=0": (406, "application/problem+json"),
    }

    answers = {accept: fetch(ann, code, Accept=accept) for accept in expected}

    assert {name: (each.status_code, each.content_type) for name, each in answers.items()} == expected
    assert fetch(ann, code).content_type == "application/json"
    assert problem(answers["image/png"]) == (406, "not_acceptable")
    assert answers["*/*"].headers["Vary"] == "Accept, Accept-Language"


def test_certificate_shows_the_design_of_the_course(ann: Person):
    certificate = certificate_of(ann)
    design = {"title": "Diplôme", "signatory_name": "Ada Lovelace", "signatory_title": "Instructor"}
    set_template(certificate["course_id"], **design, accent_color="#274b9f")

    shown = fetch(ann, certificate["code"]).json
    page = fetch(ann, certificate["code"], Accept="text/html").text
    pdf = text_of(fetch(ann, certificate["code"], Accept="application/pdf").data)

    assert shown == {
        **certificate,
        **design,
        "accent_color": "#274b9f",
        "holder": "Анна #Miller",
        "issuer": "Coursebus",
        "verification_url": f"{settings.WEB_URL}/c/{certificate['code']}",
    }
    assert [text for text in (*design.values(), "#274b9f", "<svg") if text not in page] == []
    assert [text for text in design.values() if text not in pdf] == []


def test_period_of_the_day_of_issue_applies(ann: Person, database: Database):
    certificate = certificate_of(ann)
    set_template(certificate["course_id"], valid_days=30)
    # The template was stored before the certificate was issued, and changed afterwards.
    issued_at = utc_now() - timedelta(days=31)
    database.execute("UPDATE progress.course_progress SET certified_at = :at", at=issued_at)
    database.execute("UPDATE progress.certificate_templates SET changed_at = :at", at=issued_at - timedelta(seconds=1))
    set_template(certificate["course_id"], 2, valid_days=60)

    shown = fetch(ann, certificate["code"])
    page = fetch(ann, certificate["code"], Accept="text/html")

    assert shown.json["status"] == "expired"
    assert shown.json["expires_at"] == (issued_at + timedelta(days=30)).isoformat().replace("+00:00", "Z")
    assert "This certificate expired on" in page.text


def test_revoked_certificate_says_so_everywhere(ann: Person, staff: Person, database: Database):
    code = certificate_of(ann)["code"]

    revoked = revoke(staff, code.lower(), "The account is a test.")

    assert revoked.status_code == 200
    assert (revoked.json["status"], revoked.json["revocation_cause"]) == ("revoked", "staff")
    assert certificate_of(ann)["status"] == "revoked"  # the cached page was invalidated
    shown = fetch(ann, code)
    assert (shown.json["status"], shown.json["revoked_at"]) == ("revoked", revoked.json["revoked_at"])
    assert "The account is a test." not in shown.text
    assert "This certificate was revoked on" in fetch(ann, code, Accept="text/html").text
    assert problem(fetch(ann, code, Accept="application/pdf")) == (409, "certificate_revoked")
    assert database.rows("SELECT type FROM bus.outbox WHERE type LIKE 'CERTIFICATE_%' ORDER BY seq") == [
        ("CERTIFICATE_ISSUED",),
        ("CERTIFICATE_REVOKED",),
    ]
    changes = database.value("SELECT changes FROM bus.staff_actions WHERE task = 'progress.revoke_certificate'")
    assert changes[0]["after"]["reason"] == "The account is a test."


def test_reinstated_certificate_is_valid(ann: Person, staff: Person):
    code = certificate_of(ann)["code"]
    revoke(staff, code)

    reinstated, repeated = reinstate(staff, code), reinstate(staff, code)

    assert (reinstated.json["status"], repeated.json["status"]) == ("valid", "valid")
    assert (fetch(ann, code).json["status"], certificate_of(ann)["revoked_at"]) == ("valid", None)
    user_id = ann.get("/v1/me").json["id"]
    [listed] = staff.get(f"/v1/users/{user_id}/certificates").json["items"]
    assert (listed["code"], listed["revocation_reason"]) == (code, None)


def test_repeated_revocation_has_no_second_effect(ann: Person, staff: Person, database: Database):
    code = certificate_of(ann)["code"]

    first, second = revoke(staff, code), revoke(staff, code, "Another reason.")

    assert first.json == second.json
    assert revocations(database) == 1


def test_only_staff_change_the_status(ann: Person, staff: Person):
    assert problem(revoke(ann, certificate_of(ann)["code"])) == (403, "insufficient_permission")
    assert problem(reinstate(ann, certificate_of(ann)["code"])) == (403, "insufficient_permission")
    assert problem(revoke(staff, "0000-0000-0000-0000")) == (404, "not_found")
    assert problem(reinstate(staff, "0000-0000-0000-0000")) == (404, "not_found")


def test_revocation_needs_a_reason(ann: Person, staff: Person):
    code = certificate_of(ann)["code"]

    refused = [revoke(staff, code, reason) for reason in ("", " ", None, "x" * 501, 1)]

    assert {each.status_code for each in refused} == {422}


@pytest.mark.parametrize(
    ("setting", "course", "reason", "status"),
    [
        (False, None, "refunded", "valid"),
        (True, None, "refunded", "revoked"),
        (True, None, "charged_back", "revoked"),
        (False, True, "refunded", "revoked"),
        (True, False, "refunded", "valid"),
        (True, None, "subscription_ended", "valid"),
        (True, None, "disputed", "valid"),
    ],
)
def test_refund_revokes_by_the_policy_of_the_course(
    ann: Person, database: Database, monkeypatch, *, setting, course, reason, status
):
    certificate = certificate_of(ann)
    monkeypatch.setattr(settings, "CERTIFICATE_REVOKE_ON_REFUND", setting)
    if course is not None:
        set_template(certificate["course_id"], revoke_on_refund=course)

    end_access(database, reason)
    end_access(database, reason)

    assert certificate_of(ann)["status"] == status
    assert revocations(database) == (status == "revoked")


@pytest.mark.parametrize("final_reason", ["charged_back", "refunded"])
def test_end_of_suspended_access_revokes_the_certificate(
    ann: Person, database: Database, monkeypatch, final_reason: str
):
    monkeypatch.setattr(settings, "CERTIFICATE_REVOKE_ON_REFUND", True)
    with session_factory("courses").begin() as session:
        course = make_course(session, lessons=1)
        [lesson] = course.lessons()
    of_order = {"order_id": uuid4(), "user_id": UUID(ann.get("/v1/me").json["id"])}
    learning = {"user_id": of_order["user_id"], "course_id": course.id, "lesson_id": lesson.id}
    bought = build_event(CoursePurchased, **of_order, course_id=course.id)
    opened = build_event(DisputeOpened, **of_order, order_suspended=True)
    lost = build_event(DisputeClosed, **of_order, order_charged_back=True)
    refunded = build_event(PaymentRefunded, **of_order, is_full_refund=True)
    final = ("apply_dispute_outcome", lost) if final_reason == "charged_back" else ("revoke_access_on_refund", refunded)
    revoked = []

    for version, (handler, event) in enumerate([("grant_access", bought), ("suspend_access", opened), final], 1):
        headers = {"ce_sequence": str(version)}
        deliver(f"courses.{handler}", {"event": event}, event_id=uuid4(), event_headers=headers)
        deliver_pending_events(database)
        if event is bought:
            deliver("progress.complete_lesson", learning)
        revoked.append(database.rows("SELECT reason FROM progress.certificate_revocations"))

    statuses = {each["course_id"]: each["status"] for each in ann.get("/v1/me/certificates").json["items"]}
    assert statuses[str(course.id)] == "revoked"
    assert revoked == [[], [], [(final_reason,)]]


def test_new_access_reinstates_after_a_refund_but_not_after_staff(
    ann: Person, staff: Person, database: Database, monkeypatch
):
    monkeypatch.setattr(settings, "CERTIFICATE_REVOKE_ON_REFUND", True)
    code = certificate_of(ann)["code"]

    end_access(database, "refunded")
    give_access(database)
    after_refund = certificate_of(ann)["status"]
    end_access(database, "refunded")  # the earlier event arrives again
    after_redelivery = certificate_of(ann)["status"]
    revoke(staff, code)
    give_access(database, version=12)

    assert (after_refund, after_redelivery, certificate_of(ann)["status"]) == ("valid", "valid", "revoked")


def test_revocation_by_staff_replaces_one_by_a_refund(ann: Person, staff: Person, database: Database, monkeypatch):
    monkeypatch.setattr(settings, "CERTIFICATE_REVOKE_ON_REFUND", True)
    end_access(database, "refunded")

    revoked = revoke(staff, certificate_of(ann)["code"], "Fraud.")
    give_access(database)

    assert (revoked.json["revocation_cause"], revoked.json["revocation_reason"]) == ("staff", "Fraud.")
    assert certificate_of(ann)["status"] == "revoked"


def test_template_is_changed_by_its_version(database: Database):
    course_id = str(uuid4())

    first = set_template(course_id, 1, valid_days=30)["result"]
    unchanged = set_template(course_id, 2, valid_days=30)["result"]
    outdated = set_template(course_id, 1, valid_days=31)

    assert (first["version"], unchanged["version"]) == (2, 2)
    assert outdated["error"]["name"] == "PreconditionFailed"


def test_erasure_removes_revocations(ann: Person, staff: Person, database: Database):
    revoke(staff, certificate_of(ann)["code"])
    version = database.value("SELECT version FROM users.users WHERE sub = :sub", sub=ann.sub)
    deliver("users.erase_own_account", {"sub": ann.sub, "expected_version": version})
    deliver_pending_events(database)

    assert database.count("progress.certificate_revocations") == 0
