"""Measure whether the memory of the bridge stays flat: ``python -m bench.bridge_memory``.

A million events take about fifteen minutes. The outbox, the broker, the queue and the bridge are real. A fake worker
replies "done" at once, because real workers would take hours.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

os.environ["AUDIT_EVERY_SECONDS"] = "86400"  # no inbox rows are written, so the audit would report all events

import msgspec
import psutil

from bench.end_to_end import BASE, STATE_DIR, count, insert_events, memory_of, process, wait_until
from core.redis import queue_redis
from ops.dev.stack import Stack
from settings import ROOT

STEPS = 20
WANTED = 1.1


class FakeWorker(threading.Thread):
    """Take messages from the queue and send the reply of a committed task for each."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.events: set[str] = set()
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            popped = queue_redis().blmpop(0.2, 1, "progress", direction="RIGHT", count=100)
            with queue_redis().pipeline(transaction=False) as pipeline:
                for message in popped[1] if popped else []:
                    headers = msgspec.json.decode(message)["headers"]
                    self.events.add(headers["id"])
                    reply = msgspec.json.encode({"task_id": headers["id"], "result": None})
                    pipeline.rpush(headers["envelope"]["reply_to"], reply)
                pipeline.execute()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=1_000_000)
    args = arguments.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: stops every process
    stack = Stack(STATE_DIR, BASE, only=["postgres", "queue", "cache", "kafka"], environ=os.environ)
    try:
        stack.start()
        subprocess.run([sys.executable, "-m", "migrations", "upgrade"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        measure(args.events)
    finally:
        stack.reset()
        shutil.rmtree(STATE_DIR, ignore_errors=True)


def measure(events: int) -> None:
    fake_worker, memory, began = FakeWorker(), [], time.monotonic()
    fake_worker.start()
    with process("bench.tasks") as bridge:
        for step in range(1, STEPS + 1):
            first = insert_events(events // STEPS)
            wait_until(lambda first=first: count("published_at IS NULL", first) == 0, 600)
            wait_until(lambda step=step: len(fake_worker.events) >= events // STEPS * step, 600)
            memory.append(memory_of(bridge))
            rate = len(fake_worker.events) / (time.monotonic() - began)
            private = psutil.Process(bridge.pid).memory_full_info().uss
            print(
                f"{len(fake_worker.events):9,} events  RSS {memory[-1] / 2**20:6.1f} MiB"
                f"  USS {private / 2**20:6.1f} MiB  {rate:.0f}/s",
                flush=True,
            )
    fake_worker.stop.set()
    fake_worker.join()
    growth = memory[-1] / memory[0]
    print(f"growth from the first twentieth to the last: {growth:.2f} (target: at most {WANTED})")


if __name__ == "__main__":
    main()
