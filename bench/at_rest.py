"""Measure what the local stack costs at rest: ``python -m bench.at_rest``.

Starts a stack of its own, waits until the start-up work is done, and prints for each process its share of one core,
its wake-ups per second (voluntary context switches of all threads) and its memory. PSS divides shared pages between
the processes. PostgreSQL's server processes are listed under postgres.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.targets import report
from ops.dev.ports import free_base
from ops.dev.stack import Stack

WANTED_CPU_PERCENT = 10
WANTED_MIB = 1000
WANTED_START_SECONDS = 25
WANTED_RESTART_SECONDS = 8
SETTLE_SECONDS = 30  # until beat has started every job once, and the caches of connections have closed


@dataclass
class Usage:
    """What one process used since its start, or, as a difference, within a period."""

    cpu_seconds: float
    wake_ups: int


def usage(process: psutil.Process) -> Usage:
    """Return what ``process`` used until now, with all its threads."""
    times = process.cpu_times()
    wake_ups = 0
    for status in Path(f"/proc/{process.pid}/task").glob("*/status"):
        try:
            lines = status.read_text().splitlines()
        except OSError:  # the thread has ended
            continue
        wake_ups += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return Usage(times.user + times.system, wake_ups)


def families(stack: Stack) -> dict[str, list[psutil.Process]]:
    """Return the processes of ``stack`` by the name under which the supervisor runs them."""
    supervisord = psutil.Process(int((stack.state_dir / "supervisord.pid").read_text()))
    found = {"supervisord": [supervisord]}
    for name, pid in stack.pids().items():
        process = psutil.Process(pid)
        found[name] = [process, *process.children(recursive=True)]
    return found


def measure(stack: Stack, seconds: float) -> tuple[float, float]:
    """Print one line per process; return the share of a core in percent and the PSS in MiB of all."""
    processes = families(stack)
    before = {process: usage(process) for family in processes.values() for process in family}
    time.sleep(seconds)
    cpu = memory = 0.0
    print(f"{'process':22}{'% of a core':>12}{'wake-ups/s':>12}{'PSS MiB':>10}")
    for name, family in processes.items():
        alive = [process for process in family if process.is_running()]
        used = [(usage(process), before[process]) for process in alive]
        percent = 100 * sum(now.cpu_seconds - then.cpu_seconds for now, then in used) / seconds
        wake_ups = sum(now.wake_ups - then.wake_ups for now, then in used) / seconds
        mib = sum(process.memory_full_info().pss for process in alive) / 2**20
        print(f"{name:22}{percent:12.2f}{wake_ups:12.1f}{mib:10.1f}", flush=True)
        cpu, memory = cpu + percent, memory + mib
    return cpu, memory


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60)
    args = arguments.parse_args()
    with TemporaryDirectory(prefix="coursebus-") as directory:
        stack = Stack(Path(directory), free_base(), environ=os.environ)
        try:
            began = time.monotonic()
            stack.start()
            report("seconds until a new stack is ready", time.monotonic() - began, WANTED_START_SECONDS, at_most=True)
            time.sleep(SETTLE_SECONDS)
            cpu, memory = measure(stack, args.seconds)
            report("at rest: % of a core", cpu, WANTED_CPU_PERCENT, at_most=True)
            report("at rest: MiB", memory, WANTED_MIB, at_most=True)
            stack.stop()
            began = time.monotonic()
            stack.start()
            report("seconds until it is ready again", time.monotonic() - began, WANTED_RESTART_SECONDS, at_most=True)
        finally:
            stack.reset()


if __name__ == "__main__":
    main()
