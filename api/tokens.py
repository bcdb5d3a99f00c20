"""Verification of access tokens of the OpenID Connect issuer, by default Auth0: signatures, claims and signing keys."""

import hashlib
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Self

import requests as http
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

import settings
from core.log import get_logger
from core.metrics import UNAVAILABLE, observe_external_call
from core.stream_tickets import TicketHolder
from core.text import line_or_none
from models.accounts import NO_TOKEN_YET, ROLES
from models.errors import DomainError, TokenInvalid, Unavailable

log = get_logger(__name__)


@dataclass(frozen=True)
class Claims:
    """The claims of a verified token, converted to their types."""

    sub: str
    permissions: frozenset[str]
    email: str | None
    name: str | None
    email_verified: bool
    roles: tuple[str, ...]  # the roles at the issuer; at Auth0 an action adds them to the token
    machine: bool  # a machine-to-machine token (client credentials), not of a user
    issued_at: float  # Unix time in seconds; 0 if the token has no valid iat
    expires_at: float  # Unix time in seconds

    @classmethod
    def from_ticket(cls, holder: TicketHolder) -> Self:
        """Return the claims of the token that a ticket was issued for, without permissions and identity."""
        return cls(
            sub=holder.sub,
            permissions=frozenset(),
            email=None,
            name=None,
            email_verified=False,
            roles=(),
            machine=False,
            issued_at=holder.issued_at,
            expires_at=holder.expires_at,
        )


# Cache of verified claims by token hash: verifying takes 100 µs, a lookup 2. Entries expire after a minute, so that
# tokens signed with a revoked key are not accepted for longer.
_CACHE_SECONDS = 60
_CACHE_SIZE = 10_000  # about 10 MB
_claims_cache: OrderedDict[bytes, tuple[float, Claims]] = OrderedDict()


def verify_token(token: str) -> Claims:
    """Verify an access token and return its claims.

    Raises TokenInvalid, and Unavailable if the issuer's signing keys cannot be fetched.
    """
    digest = hashlib.sha256(token.encode()).digest()
    known = _claims_cache.get(digest)
    now = time.time()
    if known and known[0] > now:
        return known[1]
    claims = _verify(token)
    _claims_cache[digest] = (min(claims.expires_at, now + _CACHE_SECONDS), claims)
    while len(_claims_cache) > _CACHE_SIZE:
        _claims_cache.popitem(last=False)
    return claims


_REGISTRY = jwt.JWTClaimsRegistry(
    leeway=5,  # seconds of clock skew
    iss={"essential": True, "value": settings.OIDC_ISSUER},
    aud={"essential": True, "value": settings.OIDC_AUDIENCE},
    sub={"essential": True},
    exp={"essential": True},
)
_ACCESS_TOKEN_TYPES = {"jwt", "at+jwt"}
_CLAIMS_OF_WORDS = {"scope", "scp"}  # texts of words with spaces between them; scp is the one of Microsoft Entra
_ISSUER = "The identity provider"


def _verify(token: str) -> Claims:
    try:
        decoded = jwt.decode(token, lambda unverified: keys.get(unverified.headers().get("kid")), algorithms=["RS256"])
        _REGISTRY.validate(decoded.claims)
        return _parse_claims(decoded.header, decoded.claims)
    except DomainError:
        raise
    except JoseError as error:
        raise TokenInvalid(error.error.replace("_", " ")) from error
    except Exception as error:  # malformed input can raise any exception, here and in the library
        raise TokenInvalid("malformed") from error


_SUB = re.compile(r"[\x21-\x7e]{1,255}")


def _parse_claims(header: dict[str, Any], claims: dict[str, Any]) -> Claims:
    if str(header.get("typ", "JWT")).lower() not in _ACCESS_TOKEN_TYPES:
        raise TokenInvalid("it is not an access token")
    if not _SUB.fullmatch(claims["sub"]):
        raise TokenInvalid("its sub is malformed")
    return Claims(
        sub=claims["sub"],
        permissions=_permissions(claims),
        email=line_or_none(_claim(claims, settings.OIDC_EMAIL_CLAIM)),
        name=line_or_none(_claim(claims, settings.OIDC_NAME_CLAIM)),
        email_verified=_claim(claims, settings.OIDC_EMAIL_VERIFIED_CLAIM) is True,
        roles=_roles(_claim(claims, settings.OIDC_ROLES_CLAIM)),
        machine=_is_machine(claims),
        issued_at=_seconds(claims.get("iat")),
        expires_at=float(claims["exp"]),
    )


def _claim(claims: dict[str, Any], path: str) -> Any:
    """Return the claim ``path``: a name, which may contain dots, or the names of nested objects with dots between."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _permissions(claims: dict[str, Any]) -> frozenset[str]:
    """Return the permissions: an array, or words if the token is a machine's.

    The scope of a person's token is what the client asked for, and many issuers grant it without regard to the person.
    """
    claim = _claim(claims, settings.OIDC_PERMISSIONS_CLAIM)
    if isinstance(claim, str) and settings.OIDC_PERMISSIONS_CLAIM in _CLAIMS_OF_WORDS and _is_machine(claims):
        claim = claim.split()
    return frozenset(each for each in claim if isinstance(each, str)) if isinstance(claim, list) else frozenset()


def _is_machine(claims: dict[str, Any]) -> bool:
    name, has_value, value = settings.OIDC_MACHINE_CLAIM.partition("=")
    claim = _claim(claims, name)
    return claim == value if has_value else claim is not None


def _roles(claim: object) -> tuple[str, ...]:
    return tuple(role for role in ROLES if role in claim) if isinstance(claim, list) else ()


def _seconds(claim: object) -> float:
    return float(claim) if isinstance(claim, int | float) and 0 <= claim < NO_TOKEN_YET else 0.0


class SigningKeys:
    """The issuer's public keys (JWKS). Threads share one fetch; known keys stay valid while the issuer is down."""

    MAX_AGE_SECONDS = 600  # older keys are refreshed in the background
    # Unknown key ids cause at most one fetch per second: invented ids cannot flood the issuer, and a new signing key is
    # found within that time.
    COOL_DOWN_SECONDS = 1
    WAIT_SECONDS = 0.25  # for the fetch of another thread, if any key is known
    RETRY_SECONDS = 2  # after a failed fetch
    TIMEOUT_SECONDS = 3

    def __init__(self, url: str) -> None:
        """Fetch the keys from ``url``, or from where the issuer's discovery document says if it is empty."""
        self._url = url
        self._fetching = threading.Lock()
        self._keys: dict[str, RSAKey] = {}
        self._fresh_until = float("-inf")
        self._search_again_at = float("-inf")
        self._last_fetch_succeeded = True  # whether the last fetch succeeded

    def get(self, kid: object) -> RSAKey:
        """Return the key with this id. Raises TokenInvalid if there is none, Unavailable if the issuer is slow or down.

        Keys that are known are returned without waiting for the issuer.
        """
        if not isinstance(kid, str):
            raise TokenInvalid("it names no key")
        if kid not in self._keys:
            self._search(kid)
        elif time.monotonic() > self._fresh_until:
            self._refresh()
        if key := self._keys.get(kid):
            return key
        raise TokenInvalid("its key is not known") if self._last_fetch_succeeded else Unavailable(_ISSUER)

    def _search(self, kid: str) -> None:
        # A slow issuer must not block a thread per token with an unknown key id: only the first requests of a process,
        # while no key is known, wait for the whole fetch.
        if not self._fetching.acquire(timeout=self.WAIT_SECONDS if self._keys else -1):
            raise Unavailable(_ISSUER)
        try:  # another thread may have fetched the key while this one waited
            if kid in self._keys or time.monotonic() < self._search_again_at:
                return
            self._fetch()
            pause_seconds = self.COOL_DOWN_SECONDS if self._last_fetch_succeeded else self.RETRY_SECONDS
            self._search_again_at = time.monotonic() + pause_seconds
        finally:
            self._fetching.release()

    def _refresh(self) -> None:
        if self._fetching.acquire(blocking=False):
            threading.Thread(target=self._fetch_in_background, name="signing-keys", daemon=True).start()

    def _fetch_in_background(self) -> None:
        try:
            self._fetch()
        finally:
            self._fetching.release()

    def _fetch(self) -> None:
        with observe_external_call("issuer", "keys") as call:
            try:
                self._url = self._url or str(self._get(settings.OIDC_DISCOVERY_URL)["jwks_uri"])
                self._keys = dict(_signing_keys(self._get(self._url)))
                self._last_fetch_succeeded = True
            except (http.RequestException, ValueError, TypeError, KeyError) as error:
                log.warning("signing keys not fetched", reason=str(error))
                self._last_fetch_succeeded = False
                call.outcome = UNAVAILABLE
        fresh_seconds = self.MAX_AGE_SECONDS if self._last_fetch_succeeded else self.RETRY_SECONDS
        self._fresh_until = time.monotonic() + fresh_seconds

    def _get(self, url: str) -> Any:
        response = http.get(url, timeout=self.TIMEOUT_SECONDS)
        response.raise_for_status()
        return response.json()


def _signing_keys(key_set: dict[str, Any]) -> list[tuple[str, RSAKey]]:
    """Return the ids and RSA signing keys of a JWKS; other keys are skipped. Raises ValueError if there are none."""
    found = [key for key in key_set["keys"] if key.get("kty") == "RSA" and key.get("use", "sig") == "sig"]
    if not found:
        raise ValueError("the key set has no key that signs")
    return [(str(key["kid"]), RSAKey.import_key(key)) for key in found if key.get("kid")]


keys = SigningKeys(settings.OIDC_JWKS_URL)
