"""Read settings from environment variables, or from the files that ``<NAME>_FILE`` name, and record where from.

A container engine mounts secrets as files; every setting can be given in this way. Invalid values are collected, so
that a process that does not start reports all of them.
"""

import json
import re
from base64 import b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_SWITCH = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
_MASK = "********"


@dataclass(frozen=True)
class Setting:
    """A setting as it was read; ``shown`` is its value with secrets masked."""

    name: str
    group: str
    shown: str
    source: str  # "default", "environment" or "file <path>"


class Environment:
    """Typed access to ``variables``."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._group = ""
        self.settings: dict[str, Setting] = {}
        self.errors: list[str] = []

    def group(self, title: str) -> None:
        """Name the group of the settings that are read next."""
        self._group = title

    def is_set(self, name: str) -> bool:
        """Return whether ``name`` has a value. An empty variable or file counts as not set, as in compose files."""
        value, path = (self._variables.get(each, "").strip() for each in (name, f"{name}_FILE"))
        if value or not path:
            return bool(value)
        try:
            return bool(Path(path).read_text().strip())
        except (OSError, UnicodeDecodeError):  # reported when it is read
            return True

    def text(self, name: str, default: str, *, is_secret: bool = False) -> str:
        """Return the value of ``name``, by default ``default``."""
        value, source = self._read(name)
        value = value or default
        shown = _MASK if is_secret and value else _without_password(value)
        self.settings[name] = Setting(name, self._group, shown, source)
        return value

    def secret(self, name: str, default: str) -> str:
        return self.text(name, default, is_secret=True)

    def secrets(self, name: str, default: str) -> tuple[str, ...]:
        """Return one secret, several, comma separated, during a rotation, or none. An empty one is an error."""
        given = self.secret(name, default)
        secrets = tuple(secret.strip() for secret in given.split(",")) if given else ()
        if not all(secrets):
            self.errors.append(f"{name} contains an empty secret")
        return secrets

    def standard_webhook_secrets(self, name: str, default: str) -> tuple[str, ...]:
        """Like ``secrets``, for Standard Webhooks: base64 after ``whsec_``."""
        secrets = self.secrets(name, default)
        if not all(_is_base64(secret.removeprefix("whsec_")) for secret in secrets):
            self.errors.append(
                f"{name} must be base64 after whsec_, as the provider shows it: no webhook would be accepted"
            )
        return secrets

    def signing_keys(self, name: str, default: str) -> tuple[str, ...]:
        """Like ``secrets``, for private keys as PEM that sign with RS256 or ES256. A given one is parsed."""
        keys = self.secrets(name, default)
        if not all(key == default or _signs(key) for key in keys):
            self.errors.append(
                f"{name} must be private keys as PEM (RSA or P-256, no password), comma separated: openssl genrsa 2048"
            )
        return keys

    def list(self, name: str, default: str) -> tuple[str, ...]:
        """Return the comma-separated values of ``name``."""
        return tuple(each.strip() for each in self.text(name, default).split(",") if each.strip())

    def texts(self, name: str, default: str) -> dict[str, str]:
        """Return a JSON object whose values are texts. Its values are masked, because some are secrets."""
        text = self.text(name, default, is_secret=self.is_set(name))
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            self.errors.append(f"{name} must be a JSON object whose values are texts")
            return {}
        return found

    def number(self, name: str, default: int, *, minimum: int = 0) -> int:
        """Return a whole number, ``minimum`` or greater."""
        text = self.text(name, str(default))
        if not (text.isascii() and text.isdecimal()):
            self.errors.append(f"{name} must be a whole number, not {text!r}")
            return default
        if int(text) < minimum:
            self.errors.append(f"{name} must be at least {minimum}")
        return int(text)

    def numbers(self, name: str, default: str) -> tuple[int, ...]:
        """Return comma-separated whole numbers."""
        texts = self.list(name, default)
        if not all(text.isascii() and text.isdecimal() for text in texts):
            self.errors.append(f"{name} must be whole numbers, comma separated, not {','.join(texts)!r}")
            return ()
        return tuple(map(int, texts))

    def switch(self, name: str, *, default: bool) -> bool:
        """Return whether ``name`` is on or off."""
        text = self.text(name, "on" if default else "off")
        if text.lower() not in _SWITCH:
            self.errors.append(f"{name} must be on or off, not {text!r}")
        return _SWITCH.get(text.lower(), default)

    def choice(self, name: str, default: str, allowed: Collection[str]) -> str:
        """Return one of the ``allowed`` values."""
        text = self.text(name, default)
        if text not in allowed:
            quoted = [f'"{each}"' for each in allowed]
            self.errors.append(f"{name} must be {', '.join(quoted[:-1])} or {quoted[-1]}, not {text!r}")
        return text

    def database_url(self, name: str, default: str) -> str:
        """Return a PostgreSQL URL for SQLAlchemy, or an empty string if it is not set and has no default."""
        url = self.text(name, default)
        normal = normalize_database_url(url)
        if url and not normal.startswith("postgresql+psycopg2://"):
            self.errors.append(f"{name} must begin with postgresql://, not {url.partition(':')[0]}:")
        return normal

    def redis_url(self, name: str, default: str) -> str:
        """Return the URL of one Redis server, or of Sentinels that know its address: see core/redis_sentinel.py."""
        url = self.text(name, default)
        scheme = url.partition(":")[0]
        if "cluster" in scheme:
            self.errors.append(
                f"{name} cannot be a Cluster: the queues and the scripts use keys of several slots at once"
            )
        elif not url.startswith(("redis://", "rediss://", "redis+sentinel://", "rediss+sentinel://")):
            self.errors.append(f"{name} must begin with redis://, rediss:// or rediss+sentinel://, not {scheme}:")
        elif "+sentinel" in scheme and not re.search(r"[?&]master=.", url):
            self.errors.append(f"{name} must name the master that the Sentinels watch: ?master=…")
        return url

    def _read(self, name: str) -> tuple[str, str]:
        """Return the value, empty if it is not set, and its source."""
        value, path = (self._variables.get(each, "").strip() for each in (name, f"{name}_FILE"))
        if value and path:
            self.errors.append(f"{name} and {name}_FILE are both set: remove one of them")
        if value or not path:
            return value, "environment" if value else "default"
        try:
            value = Path(path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            self.errors.append(f"{name}_FILE cannot be read: {error}")
        return value, f"file {path}" if value else "default"


def normalize_database_url(url: str) -> str:
    """Return ``url`` with the driver that is installed; hosting providers write postgres:// or postgresql://.

    Several hosts, as in ``user@a:5432,b:5432/name``, become parameters, which SQLAlchemy understands.
    """
    url = re.sub(r"^(postgres|postgresql)://", "postgresql+psycopg2://", url)
    try:
        parts = urlsplit(url)
    except ValueError:  # an invalid address, which the connection reports
        return url
    login, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return url
    several = "&".join(f"host={host}" for host in hosts.split(","))
    return parts._replace(netloc=f"{login}{at}", query=f"{parts.query}&{several}".lstrip("&")).geturl()


def _is_base64(text: str) -> bool:
    try:
        return bool(b64decode(text, validate=True))
    except ValueError:
        return False


def _signs(pem: str) -> bool:
    """Return whether ``pem`` is a private key of RSA or P-256."""
    # Loaded only where a key is given: the library takes memory.
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):  # malformed or of an unknown algorithm; encrypted
        return False
    is_p256 = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    return is_p256 or isinstance(key, rsa.RSAPrivateKey)


def _without_password(value: str) -> str:
    """Mask the password of a URL, in its user information or in its query."""
    try:
        password = urlsplit(value).password
    except ValueError:  # an address that is not a URL, or an invalid port
        password = None
    if password:
        value = value.replace(f":{password}@", f":{_MASK}@", 1)
    return re.sub(r"([?&][^=&]*password=)[^&]+", rf"\1{_MASK}", value, flags=re.IGNORECASE)
