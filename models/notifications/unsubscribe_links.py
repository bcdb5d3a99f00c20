"""Signed unsubscribe tokens for the links in mails. They need no sign-in and expire."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

import settings
from core.db import utc_now
from models.errors import UnsubscribeLinkInvalid

_MAC_BYTES, _ID_BYTES, _DAY_BYTES = 16, 16, 3
_DAY_SECONDS = 86400


@dataclass(frozen=True)
class UnsubscribeLink:
    """The user and the category of an unsubscribe link."""

    user_id: UUID
    category: str

    def token(self, *, issued_at: datetime) -> str:
        """Return the signed token for a link in a mail sent at ``issued_at``."""
        signed = self.user_id.bytes + _day(issued_at).to_bytes(_DAY_BYTES) + self.category.encode()
        return base64.urlsafe_b64encode(_mac(signed) + signed).decode().rstrip("=")

    @classmethod
    def from_token(cls, token: str) -> Self:
        """Verify a token. Raises UnsubscribeLinkInvalid, also UNSUBSCRIBE_LINK_DAYS after it was issued."""
        try:
            read = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):  # not base64, or not ASCII
            raise UnsubscribeLinkInvalid from None
        mac, signed = read[:_MAC_BYTES], read[_MAC_BYTES:]
        if not hmac.compare_digest(mac, _mac(signed)):
            raise UnsubscribeLinkInvalid
        day = int.from_bytes(signed[_ID_BYTES : _ID_BYTES + _DAY_BYTES])
        if day + settings.UNSUBSCRIBE_LINK_DAYS < _day(utc_now()):
            raise UnsubscribeLinkInvalid
        return cls(UUID(bytes=signed[:_ID_BYTES]), signed[_ID_BYTES + _DAY_BYTES :].decode())


def _day(at: datetime) -> int:
    return int(at.timestamp()) // _DAY_SECONDS


def _mac(signed: bytes) -> bytes:
    return hmac.digest(settings.SECRET_KEY.encode(), b"unsubscribe " + signed, hashlib.sha256)[:_MAC_BYTES]
