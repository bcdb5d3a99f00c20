"""Open Badges 3.0: a library that is not ours verifies a badge offline, with the published keys."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from joserfc.jwk import ECKey, RSAKey
from openbadgeslib.ob3 import OB3Verifier
from openbadgeslib.ob3.verifier import OB3VerificationError

import settings
from core.cache import cache_redis
from core.db import session_factory
from settings import LOCAL_BADGE_KEY, SERVICES
from tests.integration.progress.builders import Learner
from tests.integration.users.event_delivery import deliver_pending_events
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.gateway import Person, gateway, problem, running_worker, trust_test_tokens


@pytest.fixture
def ann(database: Database, monkeypatch) -> Iterator[Person]:
    """A user who has completed a course and whose events are handled."""
    monkeypatch.setattr(settings, "AUTH0_SYNC_ENABLED", False)
    monkeypatch.setattr(settings, "BADGE_SIGNING_KEYS", (LOCAL_BADGE_KEY,))
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


def code_of(person: Person) -> str:
    return str(person.get("/v1/me/certificates").json["items"][0]["code"])


def badge_of(person: Person) -> str:
    response = person.client.get(f"/v1/certificates/{code_of(person)}/badge")
    assert (response.status_code, response.content_type) == (200, "text/plain; charset=utf-8")
    return str(response.text)


def published_keys(person: Person) -> dict[str, Any]:
    """Return the published keys by their ids, as a verifier stores them."""
    found = person.client.get("/.well-known/jwks.json").json["keys"]
    return {key["kid"]: jwt.PyJWK(key).key for key in found}


def verify(badge: str, keys: dict[str, Any]) -> Any:
    """Verify a badge without this server: its signature, dates and structure."""
    key = keys[jwt.get_unverified_header(badge)["kid"]]
    return OB3Verifier(key).verify(badge)


def test_badge_is_verified_offline_with_the_published_keys(ann: Person):
    badge, keys = badge_of(ann), published_keys(ann)

    verified = verify(badge, keys)

    address = f"{settings.PUBLIC_URL}/v1/certificates/{code_of(ann)}"
    assert (verified.id, verified.issuer.name, verified.achievement.name) == (address, "Coursebus", "Bread")
    payload = jwt.decode(badge, options={"verify_signature": False})
    assert payload["credentialSubject"]["identifier"][0]["identityHash"] == "Ann Miller"
    assert payload["iss"] == payload["issuer"]["id"] == f"{settings.PUBLIC_URL}/v1/badge-issuer"
    assert ann.get("/v1/me").json["id"] not in str(payload)


def test_changed_badge_is_not_verified(ann: Person):
    header, payload, signature = badge_of(ann).split(".")
    changed = jwt.decode(f"{header}.{payload}.{signature}", options={"verify_signature": False}) | {"name": "Cake"}
    forged = jwt.encode(changed, RSAKey.generate_key(2048).as_pem(private=True), "RS256", {"kid": _kid(header)})

    with pytest.raises(OB3VerificationError):
        verify(forged, published_keys(ann))


def _kid(header: str) -> str:
    return str(jwt.get_unverified_header(f"{header}..")["kid"])


def test_key_is_published_at_the_address_in_the_badge(ann: Person):
    kid = jwt.get_unverified_header(badge_of(ann))["kid"]

    key = ann.client.get(kid.removeprefix(settings.PUBLIC_URL))

    assert key.json in ann.client.get("/.well-known/jwks.json").json["keys"]
    assert "d" not in key.json
    assert problem(ann.client.get("/v1/badge-keys/unknown")) == (404, "not_found")


def test_badges_of_the_previous_key_are_verified_after_a_rotation(ann: Person, monkeypatch):
    before = badge_of(ann)
    new = ECKey.generate_key("P-256").as_pem(private=True).decode().strip()
    monkeypatch.setattr(settings, "BADGE_SIGNING_KEYS", (new, LOCAL_BADGE_KEY))

    after, keys = badge_of(ann), published_keys(ann)

    assert len(keys) == 2
    assert jwt.get_unverified_header(after)["alg"] == "ES256"
    assert {verify(badge, keys).id for badge in (before, after)} == {verify(after, keys).id}


def test_revoked_certificate_has_no_badge_and_is_in_its_revocation_list(ann: Person):
    badge = jwt.decode(badge_of(ann), options={"verify_signature": False})
    status_path = badge["credentialStatus"]["id"].removeprefix(settings.PUBLIC_URL)
    before = ann.client.get(status_path).json["revokedCredential"]

    deliver("progress.revoke_certificate", {"code": code_of(ann), "reason": "A test account."})

    assert before == []
    assert ann.client.get(status_path).json["revokedCredential"] == [{"id": badge["id"], "revoked": True}]
    assert problem(ann.client.get(f"/v1/certificates/{code_of(ann)}/badge")) == (409, "certificate_revoked")


def test_badge_ends_with_the_certificate(ann: Person, database: Database):
    course_id = ann.get("/v1/me/certificates").json["items"][0]["course_id"]
    message = {"course_id": course_id, "expected_version": 1, "design": {"valid_days": 30}}
    deliver("progress.replace_certificate_template", message)
    database.execute("UPDATE progress.certificate_templates SET changed_at = '2025-01-01'")

    payload = jwt.decode(badge_of(ann), options={"verify_signature": False})

    assert payload["exp"] - payload["nbf"] == 30 * 86400
    assert payload["validUntil"] == ann.client.get(f"/v1/certificates/{code_of(ann)}").json["expires_at"]


def test_server_without_keys_has_no_badges(ann: Person, monkeypatch):
    monkeypatch.setattr(settings, "BADGE_SIGNING_KEYS", ())

    assert problem(ann.client.get(f"/v1/certificates/{code_of(ann)}/badge")) == (409, "badges_not_configured")
    assert ann.client.get("/.well-known/jwks.json").json == {"keys": []}
