"""Random kills: ``python -m tests.chaos.random_kills --minutes 10 --seed 7``, or ``make chaos MINUTES=10 SEED=7``.

Clients register, buy, learn and create courses while processes are killed at random, queues are flushed and the broker
loses its log. When the platform is idle again, the checker reads everything. The same seed repeats the same choices,
but not the same timing.
"""

import argparse
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from uuid import uuid4

from redis.exceptions import RedisError

from settings import SERVICES
from tests.support.apache_kafka import missing_requirement

from .chaos_platform import TIMEOUT_SECONDS, ChaosPlatform, Learner, running_chaos_platform
from .checker import ClientRecord, Finding, count_duplicate_mails
from .checker import findings as found_in
from .snapshot import take_snapshot

RECOVERY_SECONDS = TIMEOUT_SECONDS  # until all scenarios have ended and the platform is idle
_OFTEN = [*(f"worker-{service}" for service in SERVICES), "bridge", "gateway"]
_VICTIMS = [*_OFTEN, *_OFTEN, "beat", "queue", "cache", "kafka", "postgres", "mongo", "mail"]
_UNRELIABLE_STRIPE = "make Stripe unreliable"


@dataclass(frozen=True)
class Intensity:
    """The number of concurrent clients, and the pauses between scenarios and between faults.

    Each pause is a random number of seconds from the first to the second value.
    """

    clients: int = 3
    between_scenarios: tuple[float, float] = (0, 0)
    between_kills: tuple[float, float] = (1.5, 4)  # while killed processes restart
    only_purchases: bool = False


FULL = Intensity()


@dataclass
class Outcome:
    """The faults and records of a run, and the findings of the checker after it."""

    kills: Counter[str] = field(default_factory=Counter)
    records: list[ClientRecord] = field(default_factory=list)
    failed_scenarios: list[str] = field(default_factory=list)  # scenarios that failed
    findings: list[Finding] = field(default_factory=list)
    repeated_mails: int = 0
    idle_after_seconds: float = 0.0

    def __str__(self) -> str:
        purchases = sum(record.what == "paid" for record in self.records)
        lines = [
            f"purchases:       {purchases}",
            f"kills:           {sum(times for fault, times in self.kills.items() if fault != _UNRELIABLE_STRIPE)}",
            f"faults:          {dict(self.kills)}",
            f"client records:  {dict(Counter(record.what for record in self.records))}",
            f"idle after:      {self.idle_after_seconds:.1f} s",
            f"mails sent twice with the same Message-ID: {self.repeated_mails}",
            *(f"FAILED SCENARIO  {scenario}" for scenario in self.failed_scenarios),
            *(f"FINDING          {finding.check}: {finding.text}" for finding in self.findings),
            f"findings:        {len(self.findings) + len(self.failed_scenarios)}",
        ]
        return "\n".join(lines)


def storm(
    chaos_platform: ChaosPlatform, *, seconds: float, seed: int, intensity: Intensity = FULL, whole: bool = False
) -> Outcome:
    """Run clients and faults for ``seconds``, then check the data of these clients, or of the ``whole`` platform."""
    outcome, stop = Outcome(), threading.Event()
    threads = [
        threading.Thread(
            target=_run_scenarios, args=(chaos_platform, random.Random(f"{seed}/{n}"), intensity, stop, outcome)
        )
        for n in range(intensity.clients)
    ]
    for thread in threads:
        thread.start()
    try:
        _kill_loop(chaos_platform, random.Random(seed), intensity, time.monotonic() + seconds, outcome)
    finally:
        stop.set()
        began = time.monotonic()
        for thread in threads:
            thread.join(RECOVERY_SECONDS)
    users = set() if whole else {record.user_id for record in outcome.records}
    chaos_platform.wait_until_idle(seconds=RECOVERY_SECONDS)
    outcome.idle_after_seconds = time.monotonic() - began
    snapshot = take_snapshot(chaos_platform.platform)
    outcome.findings = found_in(snapshot.for_users(users) if users else snapshot, outcome.records)
    outcome.repeated_mails = count_duplicate_mails(snapshot)
    return outcome


def _kill_loop(
    chaos_platform: ChaosPlatform, generator: random.Random, intensity: Intensity, until: float, outcome: Outcome
) -> None:
    began = time.monotonic()
    # Faults that happen in every run, however short.
    scheduled = [("flush the queues", 0.4), ("empty the broker's log", 0.7)]
    while time.monotonic() < until:
        share = (time.monotonic() - began) / (until - began)
        if scheduled and share > scheduled[0][1]:
            fault = scheduled.pop(0)[0]
        else:
            fault = generator.choice([*_VICTIMS, "flush the queues", _UNRELIABLE_STRIPE, _UNRELIABLE_STRIPE])
        outcome.kills[fault] += 1
        _kill(chaos_platform, fault, generator)
        time.sleep(generator.uniform(*intensity.between_kills))
    chaos_platform.harness.faults(duplicate_webhooks=0, drop_response_after_commit=0, reorder_webhooks=False)


def _kill(chaos_platform: ChaosPlatform, fault: str, generator: random.Random) -> None:
    if fault == "flush the queues":
        with suppress(RedisError):  # the queue server is down
            chaos_platform.platform.queues.flushall()
    elif fault == "empty the broker's log":
        chaos_platform.wipe_kafka()
    elif fault == _UNRELIABLE_STRIPE:
        faults = {"duplicate_webhooks": generator.randint(0, 3), "drop_response_after_commit": generator.randint(0, 2)}
        chaos_platform.harness.faults(**faults, reorder_webhooks=generator.random() < 0.5)
    else:
        chaos_platform.kill(fault)


def _run_scenarios(
    chaos_platform: ChaosPlatform,
    generator: random.Random,
    intensity: Intensity,
    stop: threading.Event,
    outcome: Outcome,
) -> None:
    """Run one scenario after another, each with a new user."""
    while not stop.is_set():
        learner = None
        scenario = _buy if intensity.only_purchases else generator.choice(_SCENARIOS)
        try:
            learner = Learner(chaos_platform)
            scenario(learner.register(), generator)
        except Exception as error:  # noqa: BLE001 any error means that the scenario failed
            outcome.failed_scenarios.append(f"{scenario.__name__}, {_failed_step(error)}: {error!r}")
        finally:
            outcome.records += learner.records if learner else []
        stop.wait(generator.uniform(*intensity.between_scenarios))


def _failed_step(error: Exception) -> str:
    """Return the step of the scenario, a method of Learner, that raised ``error``."""
    steps = [
        frame.name
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.endswith("chaos_platform.py")
    ]
    return steps[0] if steps else "before its first step"


def _learn(learner: Learner, generator: random.Random) -> None:
    course_id = generator.choice(learner.chaos_platform.free_courses)["id"]
    learner.enrol(course_id)
    for lesson_id in learner.lessons(course_id)[: generator.randint(1, 4)]:
        generator.choice([learner.complete, learner.complete, learner.complete_async])(course_id, lesson_id)


def _buy(learner: Learner, generator: random.Random) -> None:
    mine, other = generator.sample(learner.chaos_platform.paid_courses, 2)
    learner.buy(mine["id"])
    learner.reuse_idempotency_key(other["id"])
    learner.complete(mine["id"], learner.lessons(mine["id"])[0])


def _get_refund(learner: Learner, generator: random.Random) -> None:
    course_id = generator.choice(learner.chaos_platform.paid_courses)["id"]
    order_id = learner.buy(course_id)["order_id"]
    learner.get_refund(order_id, generator.randint(100, 900))
    if generator.random() < 0.7:
        learner.get_refund(order_id)
        learner.await_access_end(course_id)
        learner.access_without_enrollment(course_id)


def _get_declined(learner: Learner, generator: random.Random) -> None:
    course_id = generator.choice(learner.chaos_platform.paid_courses)["id"]
    learner.pay_with_declined_card(course_id)
    learner.access_without_enrollment(course_id)


def _create_course(learner: Learner, generator: random.Random) -> None:
    learner.create_course(f"A course about {generator.randbytes(4).hex()} {uuid4().hex[:8]}")


_SCENARIOS: list[Callable[[Learner, random.Random], None]] = [
    _learn,
    _buy,
    _buy,
    _get_refund,
    _get_declined,
    _create_course,
]


def main() -> int:
    """Run the storm on a separate stack."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments.add_argument("--apache", action="store_true", help="use Apache Kafka instead of the embedded broker")
    arguments.add_argument("--clients", type=int, default=FULL.clients)
    arguments.add_argument("--kills", type=int, help="approximate number of faults, instead of one every few seconds")
    arguments.add_argument("--purchases", action="store_true", help="only run purchases")
    args = arguments.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: stops every process
    if args.apache and (reason := missing_requirement()):
        raise SystemExit(reason)
    print(f"seed {args.seed}, {args.minutes:g} minutes", flush=True)
    intensity = Intensity(clients=args.clients, only_purchases=args.purchases)
    if args.kills:
        pause_seconds = args.minutes * 60 / args.kills
        intensity = replace(intensity, between_kills=(pause_seconds / 2, pause_seconds * 1.5))
    with running_chaos_platform(apache=args.apache) as chaos_platform:
        outcome = storm(chaos_platform, seconds=args.minutes * 60, seed=args.seed, intensity=intensity, whole=True)
    print(outcome)
    return bool(outcome.findings or outcome.failed_scenarios)


if __name__ == "__main__":
    sys.exit(main())
