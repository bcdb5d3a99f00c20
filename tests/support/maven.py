"""Jars of servers written in Java, fetched from Maven Central if Java and Maven are installed."""

import os
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def missing_jars_reason(what: str, pom: Path, jars: Path) -> str:
    """Return why the jars of ``pom`` are missing from ``jars``, or an empty string. The first call fetches them."""
    missing = [program for program in ("java", "mvn") if not shutil.which(program)]
    if missing:
        return f"{what} needs {' and '.join(missing)}, which are not installed here"
    if jars.exists():
        return ""
    fetched = jars.with_suffix(f".{os.getpid()}")
    shutil.rmtree(fetched, ignore_errors=True)
    maven = ["mvn", "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
    completed = subprocess.run(
        [*maven, f"-DoutputDirectory={fetched}", "-DincludeScope=runtime"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if completed.returncode:
        return f"Maven could not fetch {what}: {(completed.stdout + completed.stderr).strip().splitlines()[:1]}"
    with suppress(OSError):  # another process has already fetched them
        fetched.rename(jars)
    shutil.rmtree(fetched, ignore_errors=True)
    return ""
