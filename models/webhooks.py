"""Who sent an incoming webhook: signatures, tokens and addresses.

The gateway checks them before a webhook takes a place in a queue, so that strangers cannot slow down anyone else; the
workers check them again, for a message in a queue proves nothing about its sender.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from models.errors import HookRefused, SenderRefused, SignatureInvalid

OLDEST = timedelta(minutes=5)  # an older signature may have been overheard
FURTHEST_AHEAD = timedelta(seconds=60)  # clocks differ a little
_UNIX_SECONDS = re.compile(r"[0-9]{1,12}")
_LONGEST_ID = 255


def verify_stripe(body: bytes, header: str, secrets: Iterable[bytes], *, at: datetime) -> None:
    """Check ``t=<Unix seconds>,v1=<hex>,v1=<hex>``: one of ``secrets`` must have made one of the signatures.

    Raises SignatureInvalid. https://docs.stripe.com/webhooks#verify-manually
    """
    fields = [field.partition("=") for field in header.split(",")]
    times = [value for name, _, value in fields if name.strip() == "t"]
    signatures = [value.encode() for name, _, value in fields if name.strip() == "v1"]
    if len(times) != 1 or not _UNIX_SECONDS.fullmatch(times[0]) or not signatures:
        raise SignatureInvalid("there is no Stripe-Signature header, or it is malformed")
    signed = times[0].encode() + b"." + body
    ours = [hmac.new(secret, signed, hashlib.sha256).hexdigest().encode() for secret in secrets]
    if not any(hmac.compare_digest(mine, theirs) for mine in ours for theirs in signatures):
        raise SignatureInvalid("it is not made with our secret")
    _refuse_other_times(int(times[0]), at, ahead=FURTHEST_AHEAD)


def verify_standard(body: bytes, headers: Mapping[str, str], secrets: Iterable[str], *, at: datetime) -> str:
    """Check the signature of a Standard Webhook; returns its id. Raises SignatureInvalid.

    While a secret is changed, a webhook may carry a signature by each. https://www.standardwebhooks.com
    """
    webhook_id, sent_at = headers["webhook-id"], headers["webhook-timestamp"]
    if not (0 < len(webhook_id) <= _LONGEST_ID and _UNIX_SECONDS.fullmatch(sent_at)):
        raise SignatureInvalid("webhook-id or webhook-timestamp is missing or malformed")
    _refuse_other_times(int(sent_at), at, ahead=OLDEST)
    signed = f"{webhook_id}.{sent_at}.".encode() + body
    ours = {_standard_signature(secret, signed) for secret in secrets}
    given = [each.encode() for each in headers["webhook-signature"].split()]
    if not any(hmac.compare_digest(theirs, mine) for theirs in given for mine in ours):
        raise SignatureInvalid("no signature fits")
    return webhook_id


def verify_auth0(authorization: str, tokens: Iterable[str]) -> None:
    """Check the Authorization that Auth0's streams were set up with. Raises HookRefused."""
    given = authorization.removeprefix("Bearer ").encode()
    if not any(hmac.compare_digest(given, token.encode()) for token in tokens):
        raise HookRefused


def verify_address(address: str, networks: Iterable[str], *, sender: str) -> None:
    """Check that ``address`` is one of the sender's. Raises SenderRefused."""
    try:
        parsed = ip_address(address)
    except ValueError:
        raise SenderRefused(sender) from None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    if not any(parsed in ip_network(network) for network in networks):
        raise SenderRefused(sender)


def _refuse_other_times(sent_at: int, at: datetime, *, ahead: timedelta) -> None:
    age_seconds = at.timestamp() - sent_at
    if not -ahead.total_seconds() <= age_seconds <= OLDEST.total_seconds():
        raise SignatureInvalid("it is too old, or from the future")


def _standard_signature(secret: str, signed: bytes) -> bytes:
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
