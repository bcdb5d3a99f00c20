"""Measure whether the memory of the gateway stays flat: ``python -m bench.memory``.

Sends 100,000 requests (cached reads of four kinds and a document) and prints the memory of each process before, during
and after them. PSS divides shared pages between the processes; RSS counts them in each process.
"""

import argparse
import os
from uuid import uuid4

import psutil

from bench.reads import (  # sets the environment before the first import that reads the settings
    BASE,
    STATE_DIR,
    Subject,
    family,
    fill,
    get,
    load,
    served,
    subjects,
)
from ops.dev.stack import Stack

WANTED_MIB = 90
STEPS = 4


def report(sent: int, gateway: psutil.Process) -> float:
    """Print the memory of each process; return the RSS of the largest one in MiB."""
    memory = [each.memory_full_info() for each in family(gateway)]
    shown = "  ".join(f"{each.rss / 2**20:5.1f}/{each.pss / 2**20:5.1f}" for each in memory)
    print(f"{sent:8,} requests   RSS/PSS in MiB of the master and its workers: {shown}", flush=True)
    return float(max(each.rss for each in memory) / 2**20)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=100_000)
    args = arguments.parse_args()
    stack = Stack(STATE_DIR, BASE, only=["queue", "cache", "auth0"], environ=os.environ)
    sub, user_id = f"auth0|{uuid4().hex}", str(uuid4())
    try:
        stack.start()
        with served("gunicorn", "wsgi:app", BASE) as gateway:
            requested = [*subjects(BASE, BASE, sub)[2:], Subject("document", BASE, get("/openapi.json"))]
            sent, largest = 0, []
            fill(sub, user_id)
            for subject in requested:
                load(subject, 0.5)  # imports of the first request do not count as growth
            largest.append(report(sent, gateway))
            for step in range(1, STEPS + 1):
                while sent < args.requests * step // STEPS:
                    fill(sub, user_id)
                    sent += sum(load(subject, 1.0) for subject in requested)
                largest.append(report(sent, gateway))
    finally:
        stack.reset()
    growth = largest[-1] - largest[1]
    print(
        f"the largest: {largest[-1]:.1f} MiB, wanted {WANTED_MIB}; after the first quarter it grew by {growth:.1f} MiB"
    )


if __name__ == "__main__":
    main()
