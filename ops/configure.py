"""Write ops/.env and ops/secrets for ops/compose.yml, and say what is missing: ``python -m ops.configure``.

Values that ops/.env already has are kept, so the command may be repeated after each change. The exit code is 1 as long
as something is missing.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from settings import ROOT, SERVICES
from settings.checks import USED_SETTINGS

EXAMPLE, ENV, COMPOSE, SECRETS = (ROOT / "ops" / name for name in ("example.env", ".env", "compose.yml", "secrets"))
_MOUNTED = "/run/secrets/"
# Secrets that contain a password of ops/.env; all others have the name of their variable.
_DERIVED = {
    "QUEUE_URL": "redis://:${QUEUE_PASSWORD}@queue:6379/0",
    "CACHE_URL": "redis://:${CACHE_PASSWORD}@cache:6379/0",
    "MONGO_URL": "mongodb://coursebus:${MONGO_PASSWORD}@mongo:27017/coursebus",
    "FLOWER_BASIC_AUTH": "ops:${FLOWER_PASSWORD}",
    "OWNER_DATABASE_URL": "postgresql://coursebus:${POSTGRES_PASSWORD}@postgres/coursebus",
} | {
    f"{name.upper()}_DATABASE_URL": f"postgresql://coursebus_{name}:${{{name.upper()}_DATABASE_PASSWORD}}@postgres/coursebus"
    for name in (*SERVICES, "bridge")
}
_REQUIRED = ("SECRET_KEY", "WEB_CLIENT_SECRET", "SMTP_URL")  # of the secrets that are not derived
_INVENTED = re.compile(r"\w+_PASSWORD|SECRET_KEY|AUTH0_WEBHOOK_TOKEN")
_ASSIGNMENT = re.compile(r"(\w+)=(.*)")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*)|:\?)?\}")


def main() -> int:
    """Write ops/.env and print what is missing; return 1 if there is anything."""
    given = ENV.read_text() if ENV.exists() else ""
    if lost := find_unreadable(given):
        print(f"{ENV.relative_to(ROOT)} is left as it is: lines {', '.join(map(str, lost))} are no NAME=value.")
        print("  A secret of several lines, such as a key, belongs in a file: ops/secrets/BADGE_SIGNING_KEY.")
        return 1
    before = read(given)
    text = fill_in(EXAMPLE.read_text(), before)
    write_private(ENV, text)
    write_secrets(SECRETS, read(text))
    missing = find_missing(read(text))
    invented = sum(name not in before for name in read(text))
    print(f"{ENV.relative_to(ROOT)}: {invented} new variables, {len(before)} kept. Missing: {len(missing)}")
    for line in missing:
        print(f"  {line}")
    return 1 if missing else 0


def read(text: str) -> dict[str, str]:
    """Return the variables of an env file."""
    matches = (_ASSIGNMENT.fullmatch(line.strip()) for line in text.splitlines())
    return {match[1]: match[2] for match in matches if match}


def find_unreadable(text: str) -> list[int]:
    """Return the numbers of the lines that would be lost: neither empty nor comments nor assignments."""
    lines = enumerate((line.strip() for line in text.splitlines()), 1)
    return [number for number, line in lines if line and not line.startswith("#") and not _ASSIGNMENT.fullmatch(line)]


def fill_in(example: str, known: Mapping[str, str]) -> str:
    """Return ``example`` with the values of ``known``, its further variables, and fresh secrets for empty passwords."""
    lines, names = [], set()
    for line in example.splitlines():
        if match := _ASSIGNMENT.fullmatch(line):
            name, value = match.groups()
            names.add(name)
            line = f"{name}={known.get(name, value) or _invent(name)}"  # noqa: PLW2901
        lines.append(line)
    lines += [f"{name}={value}" for name, value in known.items() if name not in names]
    return "\n".join(lines) + "\n"


def _invent(name: str) -> str:
    if name == "VAPID_PRIVATE_KEY":  # of Web Push: the number of a key on P-256
        return urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return secrets.token_hex(24) if _INVENTED.fullmatch(name) else ""


def write_private(path: Path, text: str) -> None:
    """Replace the file at once by one that only its owner can read."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:  # created with mode 0600
        file.write(text)
    Path(file.name).replace(path)


def secret_values(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the contents of the secrets that compose.yml mounts, by name."""
    names = yaml.safe_load(COMPOSE.read_text())["secrets"]
    return {name: _fill(_DERIVED.get(name, f"${{{name}:-}}"), variables) for name in names}


def write_secrets(directory: Path, variables: Mapping[str, str]) -> None:
    """Write a file for each secret. One that ops/.env does not have, such as a key of several lines, is kept.

    The directory is private. The files are not: Compose mounts a file as it is, and the containers run as other users.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    directory.chmod(0o700)
    for name, value in secret_values(variables).items():
        path = directory / name
        if value or not path.exists():
            write_private(path, value)
        path.chmod(0o444)


def _fill(text: str, variables: Mapping[str, str]) -> str:
    def value_of(match: re.Match[str]) -> str:
        variable, default = match.groups()
        return variables[variable] if default is None else variables.get(variable) or default

    return _VARIABLE.sub(value_of, text)


def find_missing(variables: Mapping[str, str]) -> list[str]:
    """Return the variables that are still those of the example, and the faults of the settings of each container."""
    examples = read(EXAMPLE.read_text())
    found = [
        f"{name} is still the example: {value}"
        for name, value in variables.items()
        if value and value == examples.get(name)
    ]
    required = {*re.findall(r"\$\{(\w+):\?\}", COMPOSE.read_text()), *_REQUIRED}
    required |= {name for text in _DERIVED.values() for name in re.findall(r"\$\{(\w+)\}", text)}
    empty = sorted(name for name in required if not variables.get(name))
    found += [f"{name} must be set" for name in empty]
    return found if empty else [*found, *_find_faults(variables)]


def _find_faults(variables: Mapping[str, str]) -> list[str]:
    faults: dict[str, None] = {}
    for process in USED_SETTINGS:
        environ = container_environ(process, variables)
        code = f"import json, settings.checks; print(json.dumps(settings.checks.find_unsafe_settings({process!r})))"
        completed = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
        )
        lines = json.loads(completed.stdout) if completed.returncode == 0 else completed.stderr.splitlines()
        faults |= dict.fromkeys(lines)
    return list(faults)


def container_environ(name: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a container as Compose fills it in, with the contents of the secrets.

    Raises KeyError for a missing variable.
    """
    secrets_of_all = secret_values(variables)
    service: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"][name]
    text = {key: str(value) for key, value in service.get("environment", {}).items()}
    return {
        key.removesuffix("_FILE"): secrets_of_all[value.removeprefix(_MOUNTED)]
        if value.startswith(_MOUNTED)
        else _fill(value.replace("$$", "$"), variables)
        for key, value in text.items()
    }


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
