"""Manage the RS256 keys of the tenant and sign tokens, also incorrectly on request."""

import base64
import hashlib
import hmac
import json
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc.jwk import KeySet, RSAKey

from ops.fakes.store import Document, Documents

KEPT_KEYS = 2  # the signing key and its predecessor, whose tokens are still valid
RSA_HASHES = {"RS256": hashes.SHA256(), "RS384": hashes.SHA384(), "RS512": hashes.SHA512()}


class UnknownAlgorithmError(ValueError):
    """Raised for an algorithm that this fake cannot sign with."""


def ensure(db: Documents) -> None:
    """Create the keys on the first start."""
    while len(_stored_keys(db)) < KEPT_KEYS:
        rotate(db)


def rotate(db: Documents) -> str:
    """Replace the signing key, delete the oldest key and return the id of the new one."""
    kid = f"local-{db.increment('keys_made')}"
    key = RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"}, private=True)
    db.set_value("keys", [key.as_dict(private=True), *_stored_keys(db)][:KEPT_KEYS])
    return kid


def _stored_keys(db: Documents) -> list[Document]:
    return list(db.value("keys", []))


def key_set(db: Documents) -> KeySet:
    """Return all keys, the signing key first."""
    return KeySet([_read(json.dumps(key)) for key in _stored_keys(db)])


@lru_cache(maxsize=2 * KEPT_KEYS)
def _read(key: str) -> RSAKey:
    """Import a JWK. Cached, because OpenSSL checks the primes on each import, which takes longer than signing."""
    return RSAKey.import_key(json.loads(key))


def jwks(db: Documents) -> Document:
    """Return the JWKS with the public keys."""
    return dict(key_set(db).as_dict(private=False))


def sign(db: Documents, claims: Document, header: Document | None = None, *, unpublished_key: bool = False) -> str:
    """Sign ``claims`` as given. ``header`` overrides fields of the correct header; null removes a field.

    The algorithm "none" leaves the signature empty. "HS256" signs with the PEM of the public key as the secret, like an
    attacker. ``unpublished_key`` signs with a key that is not in the JWKS. Raises UnknownAlgorithmError.
    """
    current = _read(json.dumps(_stored_keys(db)[0]))
    full: dict[str, Any] = {"alg": "RS256", "typ": "JWT", "kid": current.kid} | (header or {})
    full = {name: value for name, value in full.items() if value is not None}
    message = f"{_encoded(full)}.{_encoded(claims)}"
    key = RSAKey.generate_key(2048, private=True) if unpublished_key else current
    return f"{message}.{_base64(_signature(key, full.get('alg'), message.encode()))}"


def _signature(key: RSAKey, alg: str | None, message: bytes) -> bytes:
    if alg is None or alg.lower() == "none":
        return b""
    if alg == "HS256":
        return hmac.new(key.as_pem(private=False), message, hashlib.sha256).digest()
    if alg not in RSA_HASHES:
        raise UnknownAlgorithmError(alg)
    private = key.private_key
    assert private is not None, "all keys are created with their private part"
    return private.sign(message, padding.PKCS1v15(), RSA_HASHES[alg])


def _encoded(part: Document) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
