"""Whether the gateway's memory stays flat: ``python -m bench.memory``.

Sends 100,000 requests, stored reads of four kinds and refusals, and shows each process before, on the way and after.
PSS counts what processes share in equal parts; RSS counts it in each.
"""

import argparse
import os
from uuid import uuid4

import psutil

from bench.reads import (  # sets the environment before anything reads the settings
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
    """Print what each process takes; returns the RSS of the largest in MiB."""
    taken = [each.memory_full_info() for each in family(gateway)]
    shown = "  ".join(f"{each.rss / 2**20:5.1f}/{each.pss / 2**20:5.1f}" for each in taken)
    print(f"{sent:8,} requests   RSS/PSS in MiB of the master and its workers: {shown}", flush=True)
    return float(max(each.rss for each in taken) / 2**20)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=100_000)
    args = arguments.parse_args()
    stack = Stack(STATE_DIR, BASE, only=["queue", "cache", "auth0"], environ=os.environ)
    sub, user_id = f"auth0|{uuid4().hex}", str(uuid4())
    try:
        stack.start()
        with served("gunicorn", "wsgi:app", BASE) as gateway:
            asked = [*subjects(BASE, BASE, sub)[2:], Subject("document", BASE, get("/openapi.json"))]
            sent, largest = 0, []
            fill(sub, user_id)
            for subject in asked:
                load(subject, 0.5)  # what is loaded with the first request is no growth
            largest.append(report(sent, gateway))
            for step in range(1, STEPS + 1):
                while sent < args.requests * step // STEPS:
                    fill(sub, user_id)
                    sent += sum(load(subject, 1.0) for subject in asked)
                largest.append(report(sent, gateway))
    finally:
        stack.reset()
    grown = largest[-1] - largest[1]
    print(
        f"the largest: {largest[-1]:.1f} MiB, wanted {WANTED_MIB}; after the first quarter it grew by {grown:.1f} MiB"
    )


if __name__ == "__main__":
    main()
