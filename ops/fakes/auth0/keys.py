"""The tenant's RS256 keys, and signing with them: rightly, or wrongly on purpose."""

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

KEPT_KEYS = 2  # the key that signs, and the one before it: its tokens are still about
RSA_HASHES = {"RS256": hashes.SHA256(), "RS384": hashes.SHA384(), "RS512": hashes.SHA512()}


class UnknownAlgorithmError(ValueError):
    """An algorithm that nothing here signs with."""


def ensure(db: Documents) -> None:
    """Make the keys on the first start."""
    while len(_stored_keys(db)) < KEPT_KEYS:
        rotate(db)


def rotate(db: Documents) -> str:
    """Sign with a fresh key from now on, and forget the oldest; returns the new key's id."""
    kid = f"local-{db.increment('keys_made')}"
    key = RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"}, private=True)
    db.set_value("keys", [key.as_dict(private=True), *_stored_keys(db)][:KEPT_KEYS])
    return kid


def _stored_keys(db: Documents) -> list[Document]:
    return list(db.value("keys", []))


def key_set(db: Documents) -> KeySet:
    """The signing key first."""
    return KeySet([_read(json.dumps(key)) for key in _stored_keys(db)])


@lru_cache(maxsize=2 * KEPT_KEYS)
def _read(key: str) -> RSAKey:
    """The key that this JWK is. Read once: OpenSSL checks the primes each time, which takes longer than to sign."""
    return RSAKey.import_key(json.loads(key))


def jwks(db: Documents) -> Document:
    """The JWKS: the public halves."""
    return dict(key_set(db).as_dict(private=False))


def sign(db: Documents, claims: Document, header: Document | None = None, *, unpublished_key: bool = False) -> str:
    """A token of ``claims`` as they are. ``header`` lies over the honest one, and null takes a field away.

    alg "none" leaves the signature empty; "HS256" signs with the public key's PEM as the secret, which is what an
    attacker has; a ``stranger``'s key is one that nobody has published. Raises UnknownAlgorithmError.
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
    assert private is not None, "both keys here were made with their private half"
    return private.sign(message, padding.PKCS1v15(), RSA_HASHES[alg])


def _encoded(part: Document) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
