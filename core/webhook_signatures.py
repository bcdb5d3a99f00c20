"""Authentication of incoming webhooks by signature, token or address.

The gateway verifies a webhook before it is queued, so that unauthenticated requests cannot fill a queue. The workers
verify it again, because a queued message proves nothing about its sender.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from standardwebhooks import Webhook

from core.errors import SenderNotAllowed, SignatureInvalid, WebhookUnauthorized

MAX_AGE = timedelta(minutes=5)  # an older webhook may be a replay attack
MAX_CLOCK_SKEW = timedelta(seconds=60)  # tolerated clock skew
_UNIX_SECONDS = re.compile(r"[0-9]{1,12}")
_ID_MAX_LENGTH = 255


def verify_stripe(body: bytes, header: str, secrets: Iterable[bytes], *, at: datetime) -> None:
    """Check ``t=<Unix seconds>,v1=<hex>,v1=<hex>``: one signature must match one of ``secrets``.

    Stripe's own check is not used: the gateway would load the whole SDK (30 MB a process), and it accepts timestamps in
    the future and headers with several. Everything that it rejects is rejected
    (tests/unit/api/test_incoming_webhooks.py). Raises SignatureInvalid.
    https://docs.stripe.com/webhooks#verify-manually
    """
    fields = [field.partition("=") for field in header.split(",")]
    times = [value for name, _, value in fields if name == "t"]
    signatures = [value.encode() for name, _, value in fields if name == "v1"]
    if len(times) != 1 or not _UNIX_SECONDS.fullmatch(times[0]) or not signatures or not all(signatures):
        raise SignatureInvalid("there is no Stripe-Signature header, or it is malformed")
    signed = times[0].encode() + b"." + body
    expected = [hmac.new(secret, signed, hashlib.sha256).hexdigest().encode() for secret in secrets]
    if not any(hmac.compare_digest(each, given) for each in expected for given in signatures):
        raise SignatureInvalid("it was not made with the configured secret")
    _check_timestamp(int(times[0]), at, ahead=MAX_CLOCK_SKEW)


def verify_standard(body: bytes, headers: Mapping[str, str], secrets: Iterable[str], *, at: datetime) -> str:
    """Check the signature of a Standard Webhook and return its id. Raises SignatureInvalid.

    While a secret is rotated, a webhook carries one signature per secret. The library only computes the signatures: its
    check does not reject malformed headers with its own error. https://www.standardwebhooks.com
    """
    webhook_id, sent_at = headers["webhook-id"], headers["webhook-timestamp"]
    if not (0 < len(webhook_id) <= _ID_MAX_LENGTH and _UNIX_SECONDS.fullmatch(sent_at)):
        raise SignatureInvalid("webhook-id or webhook-timestamp is missing or malformed")
    _check_timestamp(int(sent_at), at, ahead=MAX_AGE)
    expected = _standard_signatures(secrets, webhook_id, int(sent_at), body)
    signatures = [each.encode() for each in headers["webhook-signature"].split()]
    if not any(hmac.compare_digest(given, each) for given in signatures for each in expected):
        raise SignatureInvalid("no signature matches")
    return webhook_id


def verify_auth0(authorization: str, tokens: Iterable[str]) -> None:
    """Check the Authorization header of an Auth0 event stream against ``tokens``. Raises WebhookUnauthorized."""
    given = authorization.removeprefix("Bearer ").encode()
    if not any(hmac.compare_digest(given, token.encode()) for token in tokens):
        raise WebhookUnauthorized


def verify_address(address: str, networks: Iterable[str], *, sender: str) -> None:
    """Check that ``address`` belongs to one of the sender's ``networks``. Raises SenderNotAllowed."""
    try:
        parsed = ip_address(address)
    except ValueError:
        raise SenderNotAllowed(sender) from None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    if not any(parsed in ip_network(network) for network in networks):
        raise SenderNotAllowed(sender)


def _check_timestamp(sent_at: int, at: datetime, *, ahead: timedelta) -> None:
    age_seconds = at.timestamp() - sent_at
    if not -ahead.total_seconds() <= age_seconds <= MAX_AGE.total_seconds():
        raise SignatureInvalid("its timestamp is too old or in the future")


def _standard_signatures(secrets: Iterable[str], webhook_id: str, sent_at: int, body: bytes) -> list[bytes]:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise SignatureInvalid("the body is not UTF-8") from error
    timestamp = datetime.fromtimestamp(sent_at, UTC)
    return [Webhook(secret).sign(webhook_id, timestamp, text).encode() for secret in secrets]
