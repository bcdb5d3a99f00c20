"""Each guard of the platform is removed in turn, and the checker must find the resulting inconsistency."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.polling import eventually, run_concurrently

from .chaos_platform import ChaosPlatform, Learner
from .checker import duplicates
from .snapshot import take_snapshot


@pytest.fixture
def chaos_platform(sabotage_platform: ChaosPlatform) -> ChaosPlatform:
    return sabotage_platform


@contextmanager
def sabotaged(chaos_platform: ChaosPlatform, how: str, *names: str) -> Iterator[None]:
    """Run the processes ``names`` with the sabotage ``how`` of sabotage/sitecustomize.py within the block."""
    sabotaged = chaos_platform.platform.stack.state_dir / "sabotage"
    sabotaged.write_text(how)
    chaos_platform.restart(*names)
    try:
        yield
    finally:
        sabotaged.unlink()
        chaos_platform.restart(*names)


def enrolled_learner(chaos_platform: ChaosPlatform) -> Learner:
    """Return an enrolled learner of a free, non-sequential course when the platform is idle."""
    learner = Learner(chaos_platform).register()
    learner.enrol(
        next(each["id"] for each in chaos_platform.free_courses if not learner.course(each["id"])["sequential"])
    )
    chaos_platform.wait_until_idle([learner.user_id])
    return learner


def failed_checks(learner: Learner) -> set[str]:
    learner.chaos_platform.wait_until_idle([learner.user_id])
    return {finding.check for finding in learner.chaos_platform.findings(learner.records, users=[learner.user_id])}


def test_checker_finds_duplicate_event_without_inbox(chaos_platform: ChaosPlatform) -> None:
    learner = enrolled_learner(chaos_platform)
    for lesson_id in learner.lessons(learner.course_id)[:2]:
        learner.complete(learner.course_id, lesson_id)
    assert failed_checks(learner) == set()
    with sabotaged(chaos_platform, "without_inbox", "worker-courses"):
        republish_first_event(chaos_platform, learner, "LESSON_COMPLETED")
        eventually(lambda: failed_checks(learner), "a finding")
        assert failed_checks(learner) == {"projections are the fold of events"}


def is_queued(chaos_platform: ChaosPlatform, task: str) -> bool:
    """Return whether a message for ``task`` is in its queue. The queue of a paused worker also contains job hints."""
    messages = chaos_platform.platform.queues.lrange(task.partition(".")[0], 0, -1)
    return any(json.loads(message)["headers"]["task"] == task for message in messages)


def republish_first_event(chaos_platform: ChaosPlatform, learner: Learner, type_: str) -> None:
    """Make the relay publish the learner's first event of ``type_`` again, as after a crash.

    The event is made recent, because the bridge skips old known events without sending them to a worker.
    """
    chaos_platform.platform.database.execute(
        """UPDATE bus.outbox SET published_at = NULL, created_at = now() WHERE seq =
        (SELECT min(seq) FROM bus.outbox WHERE type = :type AND payload ->> 'user_id' = :user)""",
        type=type_,
        user=learner.user_id,
    )


def test_checker_finds_duplicate_command_without_claim(chaos_platform: ChaosPlatform) -> None:
    learner = enrolled_learner(chaos_platform)
    with sabotaged(chaos_platform, "without_idempotency_claim", "worker-courses"):
        with pytest.raises(AssertionError, match="got a different response"):
            learner.create_course("Written twice")
        assert failed_checks(learner) == {"no duplicate effects"}


def test_checker_finds_second_relay_without_advisory_lock(chaos_platform: ChaosPlatform) -> None:
    learner = enrolled_learner(chaos_platform)
    with sabotaged(chaos_platform, "without_advisory_lock", "bridge"), chaos_platform.extra_process("bridge") as second:
        eventually(lambda: "relay became leader" in second.log(), "a second relay")
        learner.complete(learner.course_id, learner.lessons(learner.course_id)[0])
        assert failed_checks(learner) == set()  # the inbox hides the duplicate …
        sent_twice = eventually(
            lambda: duplicates(take_snapshot(chaos_platform.platform).for_users([learner.user_id])),
            "a repeat",
        )
    assert "nothing was sent twice" in {finding.check for finding in sent_twice}  # … but the topic contains it


def test_checker_finds_lost_event_without_offset_rule(chaos_platform: ChaosPlatform) -> None:
    learner = enrolled_learner(chaos_platform)
    # No message of another test may be unanswered in the paused worker: counts of lessons wait for its replies.
    chaos_platform.wait_until_idle()
    with sabotaged(chaos_platform, "commit_without_completion", "bridge"), chaos_platform.paused("worker-courses"):
        learner.complete(learner.course_id, learner.lessons(learner.course_id)[0])
        eventually(
            lambda: is_queued(chaos_platform, "courses.update_progress_on_completion"),
            "the event in its queue",
            seconds=60,
        )
        eventually(lambda: chaos_platform.is_all_committed("courses"), "the commit of its offset")
        chaos_platform.restart("bridge")  # a new bridge would send an uncommitted event again …
        chaos_platform.platform.queues.flushall()  # … so remove the only copy
        chaos_platform.kill("worker-courses")
    with pytest.raises(AssertionError, match=r"not idle .*courses\.update_progress_on_completion"):
        chaos_platform.wait_until_idle([learner.user_id], seconds=12)
    found = chaos_platform.findings(learner.records, users=[learner.user_id])
    assert {finding.check for finding in found} == {"events are handled", "projections are the fold of events"}


def test_checker_finds_lost_update_without_row_lock(chaos_platform: ChaosPlatform) -> None:
    learner = enrolled_learner(chaos_platform)
    # The constraint is a second guard behind the row lock, so remove it too.
    chaos_platform.platform.database.execute(
        "ALTER TABLE bus.outbox DROP CONSTRAINT uq_outbox_aggregatetype_aggregateid_aggregate_version"
    )
    with sabotaged(chaos_platform, "without_row_lock", "worker-progress"):
        chaos_platform.wait_until_idle([learner.user_id])
        first, second = learner.lessons(learner.course_id)[:2]
        run_concurrently(
            lambda: learner.complete(learner.course_id, first), lambda: learner.complete(learner.course_id, second)
        )
        assert {"aggregate versions match events", "projections are the fold of events"} <= failed_checks(learner)


@pytest.mark.parametrize(
    ("service", "task"),
    [("progress", "progress.complete_lesson"), ("courses", "courses.update_progress_on_completion")],
)
def test_message_lost_between_pop_and_unacked_is_resent(chaos_platform: ChaosPlatform, service: str, task: str) -> None:
    """Between pop and unacked, Celery loses the message if the worker dies. The client or the bridge sends it again."""
    learner = enrolled_learner(chaos_platform)
    with sabotaged(chaos_platform, "crash_between_pop_and_unacked", f"worker-{service}"):
        chaos_platform.arm(f"popped, not yet noted: {task}")
        learner.complete(learner.course_id, learner.lessons(learner.course_id)[0])
        eventually(lambda: chaos_platform.has_triggered, f"a worker that pops {task}", seconds=60)
        assert failed_checks(learner) == set()
