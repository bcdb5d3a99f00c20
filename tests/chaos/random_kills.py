"""The random killer: ``python -m tests.chaos.random_kills --minutes 10 --seed 7``, or ``make chaos MINUTES=10 SEED=7``.

People register, buy, learn and write courses while processes are killed at random, queues are flushed and the broker
loses its log. Then it is quiet, and the checker reads everything. The seed gives the same intentions, not the same
moments.
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

from .chaos_platform import ChaosPlatform, Learner, running_chaos_platform
from .checker import ClientRecord, Finding, count_duplicate_mails
from .checker import findings as found_in
from .snapshot import take_snapshot

RECOVERY_SECONDS = 180  # until all stories have ended, and all is quiet
_OFTEN = [*(f"worker-{service}" for service in SERVICES), "bridge", "gateway"]
_VICTIMS = [*_OFTEN, *_OFTEN, "beat", "queue", "cache", "kafka", "postgres", "mongo", "mail"]
_UNRELIABLE_STRIPE = "make Stripe unreliable"


@dataclass(frozen=True)
class Intensity:
    """How many clients there are at once, and how long each rests between two stories and the killer between two blows:
    so many seconds, from the first to the second.
    """

    clients: int = 3
    between_scenarios: tuple[float, float] = (0, 0)
    between_kills: tuple[float, float] = (1.5, 4)  # while somebody gets back on their feet
    only_purchases: bool = False


FULL = Intensity()


@dataclass
class Outcome:
    """What a storm has done, and what the checker found after it."""

    kills: Counter[str] = field(default_factory=Counter)
    records: list[ClientRecord] = field(default_factory=list)
    failed_scenarios: list[str] = field(default_factory=list)  # stories that did not end well
    findings: list[Finding] = field(default_factory=list)
    repeated_mails: int = 0
    idle_after_seconds: float = 0.0

    def __str__(self) -> str:
        purchases = sum(told.what == "paid" for told in self.records)
        lines = [
            f"purchases:       {purchases}",
            f"kills:           {sum(times for blow, times in self.kills.items() if blow != _UNRELIABLE_STRIPE)}",
            f"blows:           {dict(self.kills)}",
            f"told to clients: {dict(Counter(told.what for told in self.records))}",
            f"quiet after:     {self.idle_after_seconds:.1f} s",
            f"mails that came twice with the same Message-ID: {self.repeated_mails}",
            *(f"BROKEN STORY     {story}" for story in self.failed_scenarios),
            *(f"FINDING          {finding.check}: {finding.text}" for finding in self.findings),
            f"findings:        {len(self.findings) + len(self.failed_scenarios)}",
        ]
        return "\n".join(lines)


def storm(
    chaos_platform: ChaosPlatform, *, seconds: float, seed: int, intensity: Intensity = FULL, whole: bool = False
) -> Outcome:
    """Live through ``seconds`` of it. The checker looks at its people only, or at the ``whole`` platform."""
    outcome, over = Outcome(), threading.Event()
    lives = [
        threading.Thread(
            target=_run_scenarios, args=(chaos_platform, random.Random(f"{seed}/{n}"), intensity, over, outcome)
        )
        for n in range(intensity.clients)
    ]
    for life in lives:
        life.start()
    try:
        _kill_loop(chaos_platform, random.Random(seed), intensity, time.monotonic() + seconds, outcome)
    finally:
        over.set()
        began = time.monotonic()
        for life in lives:
            life.join(RECOVERY_SECONDS)
    users = set() if whole else {told.user_id for told in outcome.records}
    chaos_platform.wait_until_idle(seconds=RECOVERY_SECONDS)
    outcome.idle_after_seconds = time.monotonic() - began
    reading = take_snapshot(chaos_platform.platform)
    outcome.findings = found_in(reading.for_users(users) if users else reading, outcome.records)
    outcome.repeated_mails = count_duplicate_mails(reading)
    return outcome


def _kill_loop(
    chaos_platform: ChaosPlatform, dice: random.Random, force: Intensity, until: float, outcome: Outcome
) -> None:
    began = time.monotonic()
    # Once in each storm, however short.
    certain = [("flush the queues", 0.4), ("empty the broker's log", 0.7)]
    while time.monotonic() < until:
        share = (time.monotonic() - began) / (until - began)
        if certain and share > certain[0][1]:
            blow = certain.pop(0)[0]
        else:
            blow = dice.choice([*_VICTIMS, "flush the queues", _UNRELIABLE_STRIPE, _UNRELIABLE_STRIPE])
        outcome.kills[blow] += 1
        _kill(chaos_platform, blow, dice)
        time.sleep(dice.uniform(*force.between_kills))
    chaos_platform.harness.faults(duplicate_webhooks=0, drop_response_after_commit=0, reorder_webhooks=False)


def _kill(chaos_platform: ChaosPlatform, blow: str, dice: random.Random) -> None:
    if blow == "flush the queues":
        with suppress(RedisError):  # it is down itself
            chaos_platform.platform.queues.flushall()
    elif blow == "empty the broker's log":
        chaos_platform.wipe_kafka()
    elif blow == _UNRELIABLE_STRIPE:
        faults = {"duplicate_webhooks": dice.randint(0, 3), "drop_response_after_commit": dice.randint(0, 2)}
        chaos_platform.harness.faults(**faults, reorder_webhooks=dice.random() < 0.5)
    else:
        chaos_platform.kill(blow)


def _run_scenarios(
    chaos_platform: ChaosPlatform, dice: random.Random, force: Intensity, over: threading.Event, outcome: Outcome
) -> None:
    """One story after another, each of somebody new."""
    while not over.is_set():
        learner = None
        story = _buy if force.only_purchases else dice.choice(_SCENARIOS)
        try:
            learner = Learner(chaos_platform)
            story(learner.register(), dice)
        except Exception as error:  # noqa: BLE001 whatever it is, the story has ended badly
            outcome.failed_scenarios.append(f"{story.__name__}, {_failed_step(error)}: {error!r}")
        finally:
            outcome.records += learner.records if learner else []
        over.wait(dice.uniform(*force.between_scenarios))


def _failed_step(error: Exception) -> str:
    """The step of its story, a method of Learner, that raised ``error``."""
    steps = [
        frame.name
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.endswith("chaos_platform.py")
    ]
    return steps[0] if steps else "before its first step"


def _learn(learner: Learner, dice: random.Random) -> None:
    course_id = dice.choice(learner.chaos_platform.free_courses)["id"]
    learner.enrol(course_id)
    for lesson_id in learner.lessons(course_id)[: dice.randint(1, 4)]:
        dice.choice([learner.complete, learner.complete, learner.complete_async])(course_id, lesson_id)


def _buy(learner: Learner, dice: random.Random) -> None:
    mine, other = dice.sample(learner.chaos_platform.paid_courses, 2)
    learner.buy(mine["id"])
    learner.reuse_idempotency_key(other["id"])
    learner.complete(mine["id"], learner.lessons(mine["id"])[0])


def _get_refund(learner: Learner, dice: random.Random) -> None:
    course_id = dice.choice(learner.chaos_platform.paid_courses)["id"]
    order_id = learner.buy(course_id)["order_id"]
    learner.get_refund(order_id, dice.randint(100, 900))
    if dice.random() < 0.7:
        learner.get_refund(order_id)
        learner.await_access_end(course_id)
        learner.access_without_enrollment(course_id)


def _get_declined(learner: Learner, dice: random.Random) -> None:
    course_id = dice.choice(learner.chaos_platform.paid_courses)["id"]
    learner.pay_with_declined_card(course_id)
    learner.access_without_enrollment(course_id)


def _create_course(learner: Learner, dice: random.Random) -> None:
    learner.create_course(f"A course about {dice.randbytes(4).hex()} {uuid4().hex[:8]}")


_SCENARIOS: list[Callable[[Learner, random.Random], None]] = [
    _learn,
    _buy,
    _buy,
    _get_refund,
    _get_declined,
    _create_course,
]


def main() -> int:
    """A storm over a stack of its own."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments.add_argument("--apache", action="store_true", help="over Apache Kafka in place of the embedded broker")
    arguments.add_argument("--clients", type=int, default=FULL.clients)
    arguments.add_argument("--kills", type=int, help="about so many in all, in place of one every few seconds")
    arguments.add_argument("--purchases", action="store_true", help="learners buy, and do nothing else")
    given = arguments.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: everything is stopped
    if given.apache and (reason := missing_requirement()):
        raise SystemExit(reason)
    print(f"seed {given.seed}, {given.minutes:g} minutes", flush=True)
    force = Intensity(clients=given.clients, only_purchases=given.purchases)
    if given.kills:
        pause_seconds = given.minutes * 60 / given.kills
        force = replace(force, between_kills=(pause_seconds / 2, pause_seconds * 1.5))
    with running_chaos_platform(apache=given.apache) as chaos_platform:
        outcome = storm(chaos_platform, seconds=given.minutes * 60, seed=given.seed, intensity=force, whole=True)
    print(outcome)
    return bool(outcome.findings or outcome.failed_scenarios)


if __name__ == "__main__":
    sys.exit(main())
