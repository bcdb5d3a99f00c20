"""Make ``.local/venv`` hold exactly what requirements-local.txt says. Needs Python 3.11 and nothing else.

Run by make before everything; when nothing has changed it takes no time.
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
    """Install, unless the same was installed before."""
    if sys.version_info < (3, 11):  # noqa: UP036 this runs on whatever python3 is
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
    """Make the environment empty and new; return the command that is its pip."""
    if find_spec("ensurepip"):
        venv.create(VENV, clear=True, with_pip=True)
        return [str(PYTHON), "-m", "pip"]
    # Debian ships Python without ensurepip. An outer pip can install into an environment that has none.
    if find_spec("pip"):
        venv.create(VENV, clear=True, with_pip=False)
        return [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    raise SystemExit("This Python has no pip: install python3-venv (on Debian: apt-get install python3-venv).")


def install(pip: list[str]) -> None:
    """Install every requirement with its hash: by uv, which is four times as fast, or by pip where uv cannot."""
    if not (install_uv(pip) and by_uv()):
        # uv reads no pip.conf, so behind a company's own index it is pip that gets through.
        subprocess.run([*pip, "install", "--quiet", "--require-hashes", "-r", str(REQUIREMENTS)], check=True)


def install_uv(pip: list[str]) -> bool:
    """Install uv alone, at its locked version and hash."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_uv:
        only_uv.write(locked("uv"))
        only_uv.flush()
        command = [*pip, "install", "--quiet", "--require-hashes", "-r", only_uv.name]
        return subprocess.run(command, check=False).returncode == 0


def by_uv() -> bool:
    """Install everything by uv, compiled: else a dozen processes would compile the same files at once."""
    command = [str(VENV / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(PYTHON)]
    return subprocess.run([*command, "--compile-bytecode", "-r", str(REQUIREMENTS)], check=False).returncode == 0


def locked(package: str) -> str:
    """The lines of requirements-local.txt that pin ``package``: the name, and the indented lines below it."""
    lines = REQUIREMENTS.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"{package}=="))
    last = next(number for number, line in enumerate(lines[first:], first) if not line.endswith("\\"))
    return "\n".join(lines[first : last + 1])


if __name__ == "__main__":
    main()
