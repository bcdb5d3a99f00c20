"""The random killer: ``python -m tests.chaos.storm --minutes 10 --seed 7``, or ``make chaos MINUTES=10 SEED=7``.

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
from tests.support.apache_kafka import why_not

from .checker import Finding, Told, repeated_mails
from .checker import findings as found_in
from .reading import read
from .world import Learner, World, own_world

HEAL_SECONDS = 180  # until all stories have ended, and all is quiet
_OFTEN = [*(f"worker-{service}" for service in SERVICES), "bridge", "gateway"]
_VICTIMS = [*_OFTEN, *_OFTEN, "beat", "queue", "cache", "kafka", "postgres", "mongo", "mail"]
_UNRELIABLE_STRIPE = "make Stripe unreliable"


@dataclass(frozen=True)
class Force:
    """How many clients there are at once, and how long each rests between two stories and the killer between two blows:
    so many seconds, from the first to the second.
    """

    clients: int = 3
    between_stories: tuple[float, float] = (0, 0)
    between_blows: tuple[float, float] = (1.5, 4)  # while somebody gets back on their feet
    only_purchases: bool = False


FULL = Force()


@dataclass
class Outcome:
    """What a storm has done, and what the checker found after it."""

    blows: Counter[str] = field(default_factory=Counter)
    told: list[Told] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # stories that did not end well
    findings: list[Finding] = field(default_factory=list)
    repeated_mails: int = 0
    quiet_after_seconds: float = 0.0

    def __str__(self) -> str:
        purchases = sum(told.what == "paid" for told in self.told)
        lines = [
            f"purchases:       {purchases}",
            f"kills:           {sum(times for blow, times in self.blows.items() if blow != _UNRELIABLE_STRIPE)}",
            f"blows:           {dict(self.blows)}",
            f"told to clients: {dict(Counter(told.what for told in self.told))}",
            f"quiet after:     {self.quiet_after_seconds:.1f} s",
            f"mails that came twice with the same Message-ID: {self.repeated_mails}",
            *(f"BROKEN STORY     {story}" for story in self.broken),
            *(f"FINDING          {finding.check}: {finding.text}" for finding in self.findings),
            f"findings:        {len(self.findings) + len(self.broken)}",
        ]
        return "\n".join(lines)


def storm(world: World, *, seconds: float, seed: int, force: Force = FULL, whole: bool = False) -> Outcome:
    """Live through ``seconds`` of it. The checker looks at its people only, or at the ``whole`` platform."""
    outcome, over = Outcome(), threading.Event()
    lives = [
        threading.Thread(target=_live, args=(world, random.Random(f"{seed}/{n}"), force, over, outcome))
        for n in range(force.clients)
    ]
    for life in lives:
        life.start()
    try:
        _rage(world, random.Random(seed), force, time.monotonic() + seconds, outcome)
    finally:
        over.set()
        began = time.monotonic()
        for life in lives:
            life.join(HEAL_SECONDS)
    users = set() if whole else {told.user_id for told in outcome.told}
    world.rest(seconds=HEAL_SECONDS)
    outcome.quiet_after_seconds = time.monotonic() - began
    reading = read(world.platform)
    outcome.findings = found_in(reading.about(users) if users else reading, outcome.told)
    outcome.repeated_mails = repeated_mails(reading)
    return outcome


def _rage(world: World, dice: random.Random, force: Force, until: float, outcome: Outcome) -> None:
    began = time.monotonic()
    # Once in each storm, however short.
    certain = [("flush the queues", 0.4), ("empty the broker's log", 0.7)]
    while time.monotonic() < until:
        share = (time.monotonic() - began) / (until - began)
        if certain and share > certain[0][1]:
            blow = certain.pop(0)[0]
        else:
            blow = dice.choice([*_VICTIMS, "flush the queues", _UNRELIABLE_STRIPE, _UNRELIABLE_STRIPE])
        outcome.blows[blow] += 1
        _strike(world, blow, dice)
        time.sleep(dice.uniform(*force.between_blows))
    world.shop.faults(duplicate_webhooks=0, drop_response_after_commit=0, reorder_webhooks=False)


def _strike(world: World, blow: str, dice: random.Random) -> None:
    if blow == "flush the queues":
        with suppress(RedisError):  # it is down itself
            world.platform.queues.flushall()
    elif blow == "empty the broker's log":
        world.empty_kafka()
    elif blow == _UNRELIABLE_STRIPE:
        faults = {"duplicate_webhooks": dice.randint(0, 3), "drop_response_after_commit": dice.randint(0, 2)}
        world.shop.faults(**faults, reorder_webhooks=dice.random() < 0.5)
    else:
        world.kill(blow)


def _live(world: World, dice: random.Random, force: Force, over: threading.Event, outcome: Outcome) -> None:
    """One story after another, each of somebody new."""
    while not over.is_set():
        learner = None
        story = _buys if force.only_purchases else dice.choice(_STORIES)
        try:
            learner = Learner(world)
            story(learner.register(), dice)
        except Exception as error:  # noqa: BLE001 whatever it is, the story has ended badly
            outcome.broken.append(f"{story.__name__}, {_step_of(error)}: {error!r}")
        finally:
            outcome.told += learner.told if learner else []
        over.wait(dice.uniform(*force.between_stories))


def _step_of(error: Exception) -> str:
    """The step of its story, a method of Learner, that raised ``error``."""
    steps = [frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith("world.py")]
    return steps[0] if steps else "before its first step"


def _learns(learner: Learner, dice: random.Random) -> None:
    course_id = dice.choice(learner.world.free_courses)["id"]
    learner.enrol(course_id)
    for lesson_id in learner.lessons(course_id)[: dice.randint(1, 4)]:
        dice.choice([learner.complete, learner.complete, learner.complete_later])(course_id, lesson_id)


def _buys(learner: Learner, dice: random.Random) -> None:
    mine, other = dice.sample(learner.world.paid_courses, 2)
    learner.buy(mine["id"])
    learner.reuse_the_key(other["id"])
    learner.complete(mine["id"], learner.lessons(mine["id"])[0])


def _gets_money_back(learner: Learner, dice: random.Random) -> None:
    course_id = dice.choice(learner.world.paid_courses)["id"]
    order_id = learner.buy(course_id)["order_id"]
    learner.get_back(order_id, dice.randint(100, 900))
    if dice.random() < 0.7:
        learner.get_back(order_id)
        learner.await_end(course_id)
        learner.trespass(course_id)


def _is_declined(learner: Learner, dice: random.Random) -> None:
    course_id = dice.choice(learner.world.paid_courses)["id"]
    learner.be_declined(course_id)
    learner.trespass(course_id)


def _writes(learner: Learner, dice: random.Random) -> None:
    learner.write(f"A course about {dice.randbytes(4).hex()} {uuid4().hex[:8]}")


_STORIES: list[Callable[[Learner, random.Random], None]] = [
    _learns,
    _buys,
    _buys,
    _gets_money_back,
    _is_declined,
    _writes,
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
    if given.apache and (reason := why_not()):
        raise SystemExit(reason)
    print(f"seed {given.seed}, {given.minutes:g} minutes", flush=True)
    force = Force(clients=given.clients, only_purchases=given.purchases)
    if given.kills:
        pause_seconds = given.minutes * 60 / given.kills
        force = replace(force, between_blows=(pause_seconds / 2, pause_seconds * 1.5))
    with own_world(apache=given.apache) as world:
        outcome = storm(world, seconds=given.minutes * 60, seed=given.seed, force=force, whole=True)
    print(outcome)
    return bool(outcome.findings or outcome.broken)


if __name__ == "__main__":
    sys.exit(main())
