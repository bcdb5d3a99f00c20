"""Servers that are written in Java: their jars come from Maven Central, where Java and Maven are there."""

import os
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def missing_jars_reason(what: str, pom: Path, jars: Path) -> str:
    """Why the jars that ``pom`` asks for cannot be in ``jars``; empty where they are. Fetches them the first time."""
    missing = [program for program in ("java", "mvn") if not shutil.which(program)]
    if missing:
        return f"{what} needs {' and '.join(missing)}, which are not installed here"
    if jars.exists():
        return ""
    fetched = jars.with_suffix(f".{os.getpid()}")
    shutil.rmtree(fetched, ignore_errors=True)
    maven = ["mvn", "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*maven, f"-DoutputDirectory={fetched}", "-DincludeScope=runtime"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        return f"Maven could not fetch {what}: {(done.stdout + done.stderr).strip().splitlines()[:1]}"
    with suppress(OSError):  # another process was faster
        fetched.rename(jars)
    shutil.rmtree(fetched, ignore_errors=True)
    return ""
