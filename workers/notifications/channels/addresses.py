"""Parse and validate e-mail addresses for SMTP and mail headers."""

import re
from dataclasses import dataclass

import idna

_LOCAL_MAX_BYTES, _ADDRESS_MAX_BYTES = 64, 254  # RFC 5321, 4.5.3.1

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_LOCAL = re.compile(rf'{_ATOM}(?:\.{_ATOM})*|"(?:[ !#-\[\]-~]|\\[ -~])+"')
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True)
class Mailbox:
    """E-mail address whose domain is in ASCII form (IDNA). Only the local part may contain non-ASCII characters."""

    local: str
    domain: str

    @property
    def address(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def needs_utf8(self) -> bool:
        """Return whether the address requires a server with SMTPUTF8 (RFC 6531)."""
        return not self.local.isascii()

    @classmethod
    def parse(cls, text: str) -> "Mailbox | None":
        """Parse an address without a display name; return None if it is invalid."""
        local, at, domain = text.strip().rpartition("@")
        ascii_domain = _ascii_domain(domain)
        if not at or ascii_domain is None or not _LOCAL.fullmatch(local) or not _is_printable(local):
            return None
        if len(local.encode()) > _LOCAL_MAX_BYTES or len(f"{local}@{ascii_domain}".encode()) > _ADDRESS_MAX_BYTES:
            return None
        return cls(local, ascii_domain)


def _ascii_domain(domain: str) -> str | None:
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except (idna.IDNAError, UnicodeError):
            return None
    return domain if _DOMAIN.fullmatch(domain) else None


def _is_printable(local: str) -> bool:
    # Reject invisible characters: different addresses would look the same, and mail servers do not create them.
    return local.isprintable()
