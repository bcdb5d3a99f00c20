"""Install exactly the packages of requirements-local.txt into ``.local/venv``. Requires Python 3.11 and nothing else.

make runs this before every target. It returns at once if nothing has changed.
"""

import hashlib
import subprocess
import sys
import tempfile
import venv
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".local" / "venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements-local.txt"


def main() -> None:
    """Install the requirements unless the same ones are already installed."""
    if sys.version_info < (3, 11):  # noqa: UP036 this may run on any python3
        raise SystemExit(f"Coursebus needs Python 3.11 or later; {sys.executable} is {sys.version.split()[0]}.")
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    stamp = VENV / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Installing into {VENV.relative_to(ROOT)} ...", flush=True)
    pip = make_venv()
    install(pip)
    stamp.write_text(wanted)


def make_venv() -> list[str]:
    """Create an empty environment and return the command that runs pip for it."""
    if find_spec("ensurepip"):
        venv.create(VENV, clear=True, with_pip=True)
        return [str(PYTHON), "-m", "pip"]
    # Debian ships Python without ensurepip. A pip outside the environment can install into an environment without pip.
    if find_spec("pip"):
        venv.create(VENV, clear=True, with_pip=False)
        return [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    raise SystemExit("This Python has no pip: install python3-venv (on Debian: apt-get install python3-venv).")


def install(pip: list[str]) -> None:
    """Install every requirement with its hash: with uv, which is four times as fast, or with pip if uv fails."""
    if not (install_uv(pip) and by_uv()):
        # uv does not read pip.conf, so pip is the fallback behind a private package index.
        subprocess.run([*pip, "install", "--quiet", "--require-hashes", "-r", str(REQUIREMENTS)], check=True)


def install_uv(pip: list[str]) -> bool:
    """Install only uv, at its locked version and hash."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_uv:
        only_uv.write(locked("uv"))
        only_uv.flush()
        command = [*pip, "install", "--quiet", "--require-hashes", "-r", only_uv.name]
        return subprocess.run(command, check=False).returncode == 0


def by_uv() -> bool:
    """Install all requirements with uv and compile them, so that the processes do not all compile the same files."""
    command = [str(VENV / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(PYTHON)]
    return subprocess.run([*command, "--compile-bytecode", "-r", str(REQUIREMENTS)], check=False).returncode == 0


def locked(package: str) -> str:
    """Return the lines of requirements-local.txt that pin ``package``: its name and the indented lines below."""
    lines = REQUIREMENTS.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"{package}=="))
    last = next(number for number, line in enumerate(lines[first:], first) if not line.endswith("\\"))
    return "\n".join(lines[first : last + 1])


if __name__ == "__main__":
    main()
