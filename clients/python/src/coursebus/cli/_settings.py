"""Where the API is, and the token: from the environment, then from a file that only its owner can read."""

import base64
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ._failures import CommandFailed, ExitCode

_LOCAL_API, _LOCAL_AUTH = "http://127.0.0.1:8000", "http://127.0.0.1:8010"


class Stored(msgspec.Struct, omit_defaults=True):
    """The content of the file. Empty fields have the default of a local stack."""

    url: str = ""
    auth_url: str = ""
    client_id: str = ""
    audience: str = ""
    token: str = ""


@dataclass
class Settings:
    """The settings of one call."""

    path: Path
    stored: Stored
    environ: Mapping[str, str]

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the file, if there is one. Raises CommandFailed if others can read it or it is malformed."""
        base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".config")
        path = Path(environ.get("COURSEBUS_CONFIG") or Path(base) / "coursebus" / "config.json")
        return cls(path, _read(path), environ)

    @property
    def url(self) -> str:
        return (self._value("COURSEBUS_URL", self.stored.url) or _LOCAL_API).rstrip("/")

    @property
    def auth_url(self) -> str:
        return (self._value("COURSEBUS_AUTH_URL", self.stored.auth_url) or _LOCAL_AUTH).rstrip("/")

    @property
    def client_id(self) -> str:
        return self._value("COURSEBUS_CLIENT_ID", self.stored.client_id) or "coursebus-cli"

    @property
    def audience(self) -> str:
        return self._value("COURSEBUS_AUDIENCE", self.stored.audience)

    @property
    def token(self) -> str | None:
        return self._value("COURSEBUS_TOKEN", self.stored.token) or None

    def _value(self, name: str, stored: str) -> str:
        return self.environ.get(name) or stored

    def save_token(self, token: str) -> None:
        """Write the token and the addresses in use to the file, readable by its owner only."""
        self.stored = Stored(self.url, self.auth_url, self.client_id, self.audience, token)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(self.stored))
        new.replace(self.path)

    def forget_token(self) -> bool:
        """Delete the token from the file; return whether there was one."""
        was_there = bool(self.stored.token)
        if was_there:
            self.save_token("")
        return was_there


def _read(path: Path) -> Stored:
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except FileNotFoundError:
        return Stored()
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CommandFailed(
            f"Other users can read {path}, which has your token.", f"chmod 600 {path}", exit_code=ExitCode.FAILED
        )
    try:
        return msgspec.json.decode(content, type=Stored)
    except msgspec.DecodeError as error:
        raise CommandFailed(f"{path} is malformed: {error}", f"Delete it and sign in again: rm {path}") from error


def expiry_of(token: str) -> datetime | None:
    """Return when a JWT expires, without verifying it; None if it does not say so."""
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (IndexError, KeyError, TypeError, ValueError):
        return None
