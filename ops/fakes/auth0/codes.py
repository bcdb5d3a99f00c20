"""Authorization codes: issued by ``/authorize``, exchanged for tokens at ``/oauth/token`` with the PKCE verifier."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping

from ops.fakes.store import Document, Documents

CODE_SECONDS = 600  # as at Auth0


class OAuthError(Exception):
    """An error response of Auth0: ``{"error", "error_description"}``."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, "error_description": description}


def issue(db: Documents, asked: Mapping[str, str], user_id: str) -> str:
    """Store the authorization request ``asked`` of a user and return its code."""
    code = secrets.token_urlsafe(32)
    kept = {name: asked.get(name, "") for name in ("client_id", "redirect_uri", "scope", "audience", "nonce")}
    challenge = asked["code_challenge"]
    expires_at = db.now() + CODE_SECONDS
    db.save("code", {"id": code, "user_id": user_id, "code_challenge": challenge, "expires_at": expires_at, **kept})
    return code


def redeem(db: Documents, message: Document) -> Document:
    """Return the stored request of a code, which is valid once, for its client and its PKCE verifier."""
    code = db.get(str(message.get("code", "")), "code")
    if code is None or code["expires_at"] < db.now():
        raise OAuthError(403, "invalid_grant", "Invalid authorization code")
    db.delete(code["id"])
    is_client = message.get("client_id") == code["client_id"]
    if not is_client or message.get("redirect_uri") != code["redirect_uri"]:
        raise OAuthError(403, "invalid_grant", "The redirect URI or the client does not match")
    digest = hashlib.sha256(str(message.get("code_verifier", "")).encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if not hmac.compare_digest(challenge, code["code_challenge"]):
        raise OAuthError(403, "invalid_grant", "Failed to verify code verifier")
    return code
