"""Remove from an environment what no process of the platform loads: ``python slim.py /venv``.

Run by ops/Dockerfile after the installation. ``tests/image`` imports the code of every process afterwards.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LANGUAGES = {"root", "en", "en_US", "en_GB", "ru", "ru_RU"}  # babel falls back from a territory to its language
UNUSED = (
    "babel/locale-data/*.dat",
    "botocore/data/*/",  # descriptions of services; only the signer is used
    "*/tests/",
    "tornado/test/",
    "sqlalchemy/testing/",
    "sqlalchemy/dialects/*/",
    "confluent_kafka/schema_registry/",
    "**/*.pyi",
)
KEPT_DIALECTS = {"postgresql", "__pycache__"}
# Large packages of which a process loads little or nothing are compiled when they are needed.
NOT_COMPILED = r"/(stripe|prompt_toolkit|wcwidth|dns|aiohttp|pyasn1_modules)/"


def unused(packages: Path) -> Iterator[Path]:
    """Yield the files and folders to remove."""
    for pattern in UNUSED:
        for path in packages.glob(pattern.rstrip("/")):
            is_kept = path.parent.name == "dialects" and (path.name in KEPT_DIALECTS or not path.is_dir())
            is_kept = is_kept or (path.parent.name == "locale-data" and path.stem in LANGUAGES)
            if not is_kept and path.is_dir() == pattern.endswith("/"):
                yield path


def main(environment: Path) -> None:
    """Remove unused files and debug symbols, then compile."""
    [packages] = environment.glob("lib/python*/site-packages")
    for path in list(unused(packages)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    # Libraries that a wheel brings along (*.libs) may not load any more after they are stripped.
    libraries = [path for path in packages.rglob("*.so") if not path.parent.name.endswith(".libs")]
    subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)
    compile_all = [environment / "bin" / "python", "-m", "compileall", "-q", "-x", NOT_COMPILED, environment / "lib"]
    subprocess.run(compile_all, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
