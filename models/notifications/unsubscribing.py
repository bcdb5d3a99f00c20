"""What the link at the end of a mail says: who wants no more of what. It holds for good, and needs no sign-in."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Self
from uuid import UUID

import settings
from models.errors import UnsubscribeLinkInvalid

_MAC_BYTES, _ID_BYTES = 16, 16


@dataclass(frozen=True)
class Unsubscription:
    user_id: UUID
    category: str

    @property
    def token(self) -> str:
        """What a link carries; nobody makes one for somebody else."""
        signed = self.user_id.bytes + self.category.encode()
        return base64.urlsafe_b64encode(_mac(signed) + signed).decode().rstrip("=")

    @classmethod
    def of(cls, token: str) -> Self:
        """What ``token`` says. Raises UnsubscribeLinkInvalid."""
        try:
            read = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):  # not base64, or not ASCII
            raise UnsubscribeLinkInvalid from None
        mac, signed = read[:_MAC_BYTES], read[_MAC_BYTES:]
        if not hmac.compare_digest(mac, _mac(signed)):
            raise UnsubscribeLinkInvalid
        return cls(UUID(bytes=signed[:_ID_BYTES]), signed[_ID_BYTES:].decode())


def _mac(signed: bytes) -> bytes:
    return hmac.digest(settings.SECRET_KEY.encode(), b"unsubscribe " + signed, hashlib.sha256)[:_MAC_BYTES]
