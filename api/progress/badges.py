"""Open Badges 3.0: a certificate as a credential that anyone can verify with the published keys.

The credential is the payload of a JWT (1EdTech Open Badges 3.0, section 8.2: JSON Web Token proof format). A verifier
needs the token and the issuer's public key only; whether the badge was revoked is the answer of ``credentialStatus``.
"""

from datetime import datetime
from functools import cache
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from flask import Response, jsonify
from flask.views import MethodView
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

import settings
from api.auth import public
from api.blueprints import Blueprint
from models.errors import BadgesNotConfigured, CertificateIsRevoked, NotFound

from .certificates import PublicCertificateSchema, get_certificate

blp = Blueprint("badges", __name__, description="Open Badges 3.0: badges of certificates, their keys and their status.")

MEDIA_TYPE = "text/plain"  # as the API of Open Badges 3.0 names a compact JWS
_CONTEXTS = [
    "https://www.w3.org/ns/credentials/v2",
    "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json",
    "https://purl.imsglobal.org/spec/ob/v3p0/extensions.json",  # of the status
]
_KEYS_CACHE = "public, max-age=300"
_JSON_OBJECT = {"type": "object", "additionalProperties": True}

SigningKey = RSAKey | ECKey


@cache
def _import_key(pem: str) -> SigningKey:
    is_rsa = isinstance(load_pem_private_key(pem.encode(), password=None), RSAPrivateKey)
    return RSAKey.import_key(pem) if is_rsa else ECKey.import_key(pem)


def _keys() -> list[SigningKey]:
    """Return the keys of the settings: the first one signs, the others are published only."""
    return [_import_key(pem) for pem in settings.BADGE_SIGNING_KEYS]


def _key_url(key: SigningKey) -> str:
    """Return the address of a public key: Open Badges requires that ``kid`` can be fetched."""
    return f"{settings.PUBLIC_URL}/v1/badge-keys/{key.thumbprint()}"


def _public_key(key: SigningKey) -> dict[str, Any]:
    published = {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}
    return {**published, "kid": _key_url(key), "use": "sig", "alg": _algorithm(key)}


def _algorithm(key: SigningKey) -> str:
    return "RS256" if isinstance(key, RSAKey) else "ES256"


def sign(credential: dict[str, Any]) -> str:
    """Return the credential as a signed JWT. Raises BadgesNotConfigured."""
    if not _keys():
        raise BadgesNotConfigured
    key = _keys()[0]
    claims = {
        **credential,
        "iss": credential["issuer"]["id"],
        "sub": credential["credentialSubject"]["id"],
        "jti": credential["id"],
        "nbf": _seconds(credential["validFrom"]),
    }
    if "validUntil" in credential:
        claims["exp"] = _seconds(credential["validUntil"])
    return jwt.encode({"alg": _algorithm(key), "typ": "JWT", "kid": _key_url(key)}, claims, key)


def credential_of(certificate: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenBadgeCredential of a certificate.

    The id of the subject is derived from the code, so that it does not reveal the user and cannot be linked.
    """
    address = _address(certificate["code"])
    title = certificate["course_title"]
    subject: dict[str, Any] = {
        "id": f"urn:uuid:{uuid5(NAMESPACE_URL, address)}",
        "type": ["AchievementSubject"],
        "achievement": {
            "id": f"{settings.PUBLIC_URL}/v1/courses/{certificate['course_id']}",
            "type": ["Achievement"],
            "achievementType": "Course",
            "name": title,
            "description": f"Completed the course “{title}”.",
            "criteria": {"narrative": "All lessons of the course were completed."},
        },
    }
    if certificate["holder"]:
        subject["identifier"] = [
            {
                "type": "IdentityObject",
                "hashed": False,
                "identityHash": certificate["holder"],
                "identityType": "name",
            }
        ]
    ends = {"validUntil": certificate["expires_at"]} if certificate["expires_at"] else {}
    return {
        "@context": _CONTEXTS,
        "id": address,
        "type": ["VerifiableCredential", "OpenBadgeCredential"],
        "issuer": _issuer(),
        "validFrom": certificate["issued_at"],
        **ends,
        "name": title,
        "credentialSubject": subject,
        "credentialStatus": {"id": f"{address}/status", "type": "1EdTechRevocationList"},
    }


def _issuer() -> dict[str, Any]:
    page = {"url": settings.WEB_URL} if settings.WEB_URL else {}
    return {
        "id": f"{settings.PUBLIC_URL}/v1/badge-issuer",
        "type": ["Profile"],
        "name": settings.CERTIFICATE_ISSUER,
        **page,
    }


def _address(code: str) -> str:
    return f"{settings.PUBLIC_URL}/v1/certificates/{code}"


def _seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())


def _published(document: dict[str, Any]) -> Response:
    response = jsonify(document)
    response.headers["Cache-Control"] = _KEYS_CACHE
    return response


@blp.route("/v1/certificates/<code>/badge")
class Badge(MethodView):
    @public
    @blp.doc(operationId="getBadge")
    @blp.response(200, {"type": "string"}, content_type=MEDIA_TYPE)
    @blp.alt_response(409, "Problem409")
    def get(self, code: str) -> Response:
        """Retrieve a certificate as an Open Badge

        An `OpenBadgeCredential` (Open Badges 3.0) as a signed JWT. Public: the code is sufficient. `kid` is the address
        of the public key, which is also in `/.well-known/jwks.json`. A revoked certificate has none
        (`certificate_revoked`); without keys in the settings there are no badges (`badges_not_configured`).
        """
        certificate = PublicCertificateSchema().dump(get_certificate(code))
        if certificate["status"] == "revoked":
            raise CertificateIsRevoked(certificate["code"])
        response = Response(sign(credential_of(certificate)), content_type=f"{MEDIA_TYPE}; charset=utf-8")
        response.headers["Content-Disposition"] = f'attachment; filename="badge-{certificate["code"]}.jwt"'
        return response


@blp.route("/v1/certificates/<code>/status")
class BadgeStatus(MethodView):
    @public
    @blp.doc(operationId="getBadgeStatus")
    @blp.response(200, _JSON_OBJECT)
    def get(self, code: str) -> Response:
        """Retrieve the revocation list of a badge

        The `credentialStatus` of the badge: a `1EdTechRevocationList` that has its credential if it was revoked.
        """
        certificate = get_certificate(code)
        address = _address(certificate["code"])
        revoked = {"id": address, "revoked": True}
        return jsonify(
            {
                "id": f"{address}/status",
                "type": "1EdTechRevocationList",
                "issuer": _issuer()["id"],
                "revokedCredential": [revoked] if certificate["status"] == "revoked" else [],
            }
        )


@blp.route("/v1/badge-issuer")
class BadgeIssuer(MethodView):
    @public
    @blp.doc(operationId="getBadgeIssuer")
    @blp.response(200, _JSON_OBJECT)
    def get(self) -> Response:
        """Retrieve the issuer of the badges

        A `Profile` of Open Badges 3.0.
        """
        return _published({"@context": _CONTEXTS[:2], **_issuer()})


@blp.route("/v1/badge-keys/<key_id>")
class BadgeKey(MethodView):
    @public
    @blp.doc(operationId="getBadgeKey")
    @blp.response(200, _JSON_OBJECT)
    def get(self, key_id: str) -> Response:
        """Retrieve a public key of the badges

        As a JWK, at the address in `kid` of the badges that it has signed.
        """
        for key in _keys():
            if key.thumbprint() == key_id:
                return _published(_public_key(key))
        raise NotFound("key", key_id)


@blp.route("/.well-known/jwks.json")
class BadgeKeys(MethodView):
    @public
    @blp.doc(operationId="listBadgeKeys")
    @blp.response(200, _JSON_OBJECT)
    def get(self) -> Response:
        """List the public keys of the badges

        As a JWK set. It has the key that signs now, and those before it, for as long as they are in the settings.
        """
        return _published({"keys": [_public_key(key) for key in _keys()]})
