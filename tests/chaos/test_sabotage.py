"""The checker is worth something only if it finds what it is there for: each guard is taken out in turn."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.waiting import at_once, eventually

from .checker import repeats
from .reading import read
from .world import Learner, World

pytestmark = pytest.mark.chaos


@pytest.fixture
def world(other_world: World) -> World:
    return other_world


@contextmanager
def sabotaged(world: World, how: str, *names: str) -> Iterator[None]:
    """The processes ``names`` run as sabotage/sitecustomize.py has them for ``how``."""
    sabotaged = world.platform.stack.state_dir / "sabotage"
    sabotaged.write_text(how)
    world.restart(*names)
    try:
        yield
    finally:
        sabotaged.unlink()
        world.restart(*names)


def somebody(world: World) -> Learner:
    """Registered, enrolled in a free course whose lessons may be taken in any order, and all is quiet."""
    learner = Learner(world).register()
    learner.enrol(next(each["id"] for each in world.free_courses if not learner.course(each["id"])["sequential"]))
    world.rest([learner.user_id])
    return learner


def broken_promises(learner: Learner) -> set[str]:
    learner.world.rest([learner.user_id])
    return {finding.check for finding in learner.world.findings(learner.told, users=[learner.user_id])}


def test_without_the_inbox_a_repeated_event_is_found(world: World) -> None:
    learner = somebody(world)
    for lesson_id in learner.lessons(learner.enrolled_in)[:2]:
        learner.complete(learner.enrolled_in, lesson_id)
    assert broken_promises(learner) == set()
    with sabotaged(world, "without_inbox", "worker-courses"):
        repeat_the_first(world, learner, "LESSON_COMPLETED")
        eventually(lambda: broken_promises(learner), "a finding", seconds=30)
        assert broken_promises(learner) == {"projections are the fold of events"}


def waits(world: World, task: str) -> bool:
    """Whether a message for ``task`` is in its queue; pokes of jobs are there too while nobody takes them."""
    messages = world.platform.queues.lrange(task.partition(".")[0], 0, -1)
    return any(json.loads(message)["headers"]["task"] == task for message in messages)


def repeat_the_first(world: World, learner: Learner, type_: str) -> None:
    """Have the relay send the learner's first event of ``type_`` once more, as after a crash.

    As a fresh event: an old one would be recognised by the bridge and not sent to a worker.
    """
    world.platform.database.execute(
        """UPDATE bus.outbox SET published_at = NULL, created_at = now() WHERE seq =
        (SELECT min(seq) FROM bus.outbox WHERE type = :type AND payload ->> 'user_id' = :user)""",
        type=type_,
        user=learner.user_id,
    )


def test_without_the_idempotency_claim_a_repeated_command_is_found(world: World) -> None:
    learner = somebody(world)
    with sabotaged(world, "without_idempotency_claim", "worker-courses"):
        with pytest.raises(AssertionError, match="answered in another way"):
            learner.write("Written twice")
        assert broken_promises(learner) == {"nothing happened twice"}


def test_without_the_advisory_lock_a_second_relay_is_found(world: World) -> None:
    learner = somebody(world)
    with sabotaged(world, "without_advisory_lock", "bridge"), world.another("bridge") as second:
        eventually(lambda: "relay leads" in second.log(), "a second relay", seconds=30)
        learner.complete(learner.enrolled_in, learner.lessons(learner.enrolled_in)[0])
        assert broken_promises(learner) == set()  # nobody is harmed …
        sent_twice = eventually(lambda: repeats(read(world.platform).about([learner.user_id])), "a repeat", seconds=30)
    assert "nothing was sent twice" in {finding.check for finding in sent_twice}  # … but it shows


def test_without_the_offset_rule_a_lost_event_is_found(world: World) -> None:
    learner = somebody(world)
    with sabotaged(world, "without_offset_rule", "bridge"), world.paused("worker-courses"):
        learner.complete(learner.enrolled_in, learner.lessons(learner.enrolled_in)[0])
        eventually(lambda: waits(world, "courses.count_completion"), "the event in its queue", seconds=60)
        eventually(lambda: world.all_is_committed("courses"), "the commit of its offset", seconds=30)
        world.restart("bridge")  # which would send it again …
        world.platform.queues.flushall()  # … into a queue that is empty by now
        world.kill("worker-courses")
    with pytest.raises(AssertionError, match=r"no rest .*courses\.count_completion"):
        world.rest([learner.user_id], seconds=12)
    found = world.findings(learner.told, users=[learner.user_id])
    assert {finding.check for finding in found} == {"every event was handled", "projections are the fold of events"}


def test_without_the_row_lock_a_lost_change_is_found(world: World) -> None:
    learner = somebody(world)
    # The constraint would stop the second one: it stands behind the lock, and is taken out with it.
    world.platform.database.execute(
        "ALTER TABLE bus.outbox DROP CONSTRAINT outbox_aggregatetype_aggregateid_aggregate_version_key"
    )
    with sabotaged(world, "without_row_lock", "worker-progress"):
        world.rest([learner.user_id])
        first, second = learner.lessons(learner.enrolled_in)[:2]
        at_once(
            lambda: learner.complete(learner.enrolled_in, first), lambda: learner.complete(learner.enrolled_in, second)
        )
        assert {"aggregates count their events", "projections are the fold of events"} <= broken_promises(learner)


@pytest.mark.parametrize(
    ("service", "task"), [("progress", "progress.complete_lesson"), ("courses", "courses.count_completion")]
)
def test_a_message_that_was_popped_and_not_yet_noted_is_made_good(world: World, service: str, task: str) -> None:
    """Celery's own hole on Redis: the message is in nobody's hands any more. A client or the bridge repeats it."""
    learner = somebody(world)
    with sabotaged(world, "mortal_when_it_pops", f"worker-{service}"):
        world.arm(f"popped, not yet noted: {task}")
        learner.complete(learner.enrolled_in, learner.lessons(learner.enrolled_in)[0])
        eventually(lambda: world.has_struck, f"a worker that pops {task}", seconds=60)
        assert broken_promises(learner) == set()
