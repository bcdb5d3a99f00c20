"""A process is killed at a named point of a scenario, and the scenario still succeeds."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.support.platform import Platform
from tests.support.polling import eventually

from .chaos_platform import TIMEOUT_SECONDS, ChaosPlatform, Learner
from .checker import Finding

Scenario = Callable[[Learner], None]


def register_another_user(learner: Learner) -> None:
    learner.visitor, learner.records = learner.chaos_platform.harness.learner(), []
    learner.register()


def enrol_in_free_course(learner: Learner) -> None:
    learner.enrol(learner.chaos_platform.free_courses[0]["id"])


def complete_first_lesson(learner: Learner) -> None:
    course_id = learner.course_id
    learner.complete(course_id, learner.lessons(course_id)[0])


def complete_first_lesson_async(learner: Learner) -> None:
    course_id = learner.course_id
    learner.complete_async(course_id, learner.lessons(course_id)[0])


def buy_course(learner: Learner) -> None:
    learner.buy(learner.chaos_platform.paid_courses[0]["id"])


def buy_and_refund_course(learner: Learner) -> None:
    learner.get_refund(learner.buy(learner.chaos_platform.paid_courses[0]["id"])["order_id"])


@dataclass(frozen=True)
class Point:
    name: str
    scenario: Scenario
    victim: str | None = None  # the process to kill; by default the one that reaches the point

    def __str__(self) -> str:
        return f"{self.name}, {self.victim} is killed" if self.victim else self.name


POINTS = [
    # Gateway.
    Point("before the push: progress.complete_lesson", complete_first_lesson),
    Point("after the push: progress.complete_lesson", complete_first_lesson),
    Point("answered: progress.complete_lesson", complete_first_lesson),
    Point("answered: payments.start_checkout", buy_course),
    # The master is killed, its worker keeps waiting.
    Point("after the push: payments.start_checkout", buy_course, "gateway"),
    # Queue server.
    Point("before the push: progress.complete_lesson", complete_first_lesson, "queue"),
    Point("after the push: payments.start_checkout", buy_course, "queue"),
    # Worker during a command.
    Point("started: progress.complete_lesson", complete_first_lesson),
    Point("in the transaction: progress.complete_lesson", complete_first_lesson),
    Point("after the commit: progress.complete_lesson", complete_first_lesson),
    Point("after the reply: progress.complete_lesson", complete_first_lesson),
    Point("after the commit: progress.accept_operation", complete_first_lesson_async),
    Point("started: progress.run_operation", complete_first_lesson_async),
    # Worker during a call of a payment provider.
    Point("after the attempt's commit", buy_course),
    Point("after the provider's response", buy_course),
    Point("before the outcome's commit", buy_course),
    Point("in the transaction: payments.receive_webhook", buy_course),
    Point("after the commit: payments.receive_webhook", buy_course),
    Point("between a webhook and its outcome", buy_course),
    Point("after the refund's commit", buy_and_refund_course),
    Point("before the refund's response", buy_and_refund_course),
    # Relay.
    Point("produced, not acknowledged", complete_first_lesson),
    Point("acknowledged, not marked", complete_first_lesson),
    Point("produced, not acknowledged", complete_first_lesson, "kafka"),
    Point("acknowledged, not marked", complete_first_lesson, "kafka"),
    # Bridge between Kafka and a handler.
    Point("polled: COURSE_PURCHASED", buy_course),
    Point("sent: courses.grant_access", buy_course),
    Point("handled, not stored: COURSE_PURCHASED", buy_course),
    Point("stored, not committed: courses", buy_course),
    # Worker during an event.
    Point("started: courses.grant_access", buy_course),
    Point("in the transaction: courses.grant_access", buy_course),
    Point("after the commit: courses.grant_access", buy_course),
    Point("after the reply: courses.grant_access", buy_course),
    Point("in the transaction: users.initialize_profile", register_another_user),
    Point("after the commit: users.initialize_profile", register_another_user),
    # The mail has been sent, but is not recorded as sent.
    Point("in the transaction: notifications.deliver_email", enrol_in_free_course),
    # Data stores and other processes.
    Point("in the transaction: progress.complete_lesson", complete_first_lesson, "postgres"),
    Point("in the transaction: courses.grant_access", buy_course, "postgres"),
    Point("started: notifications.send_enrollment_confirmation", enrol_in_free_course, "mongo"),
    Point("started: notifications.deliver_email", enrol_in_free_course, "mail"),
    Point("started: payments.apply_provider_event", buy_course, "beat"),
]


class Scenarios:
    """The scenarios of all selected points; each starts as soon as the previous point has triggered.

    Scenarios overlap, because most of the time a scenario waits for a process to restart.
    """

    def __init__(self, chaos_platform: ChaosPlatform, points: list[Point]) -> None:
        self._chaos_platform = chaos_platform
        self._pool = ThreadPoolExecutor(10)
        self._started = {point: Future[Future[Learner]]() for point in points}
        self._driver = threading.Thread(target=self._drive)
        self._driver.start()

    def finished_learner(self, point: Point) -> Learner:
        """Return the learner when its scenario has ended after the kill at ``point``."""
        return self._started[point].result().result()

    def close(self) -> None:
        self._driver.join()
        self._pool.shutdown()
        self._chaos_platform.disarm()

    def _drive(self) -> None:
        for point, started in self._started.items():
            try:
                started.set_result(self._start(point))
            except Exception as error:  # noqa: BLE001 raised again by the test of this point
                started.set_exception(error)

    def _start(self, point: Point) -> "Future[Learner]":
        learner = Learner(self._chaos_platform).register()
        if point.scenario in {complete_first_lesson, complete_first_lesson_async}:
            learner.enrol(self._chaos_platform.free_courses[0]["id"])
        self._chaos_platform.arm(point.name, victim=point.victim)
        scenario = self._pool.submit(lambda: point.scenario(learner) or learner)
        eventually(lambda: self._chaos_platform.has_triggered, f"a process at {point.name!r}", seconds=TIMEOUT_SECONDS)
        return scenario


@pytest.fixture(scope="module")
def scenarios(running_platform: Platform, request) -> Iterator[Scenarios]:
    wanted = [item.callspec.params["point"] for item in request.session.items if "scenarios" in item.fixturenames]
    scenarios = Scenarios(ChaosPlatform(running_platform), wanted)
    yield scenarios
    scenarios.close()


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_crash_at_named_point_is_exactly_once(running_platform: Platform, scenarios: Scenarios, point: Point) -> None:
    assert_no_findings(ChaosPlatform(running_platform), scenarios.finished_learner(point))


def assert_no_findings(chaos_platform: ChaosPlatform, learner: Learner) -> None:
    chaos_platform.wait_until_idle([learner.user_id])
    found: list[Finding] = []

    def is_consistent() -> bool:
        found[:] = chaos_platform.findings(learner.records, users=[learner.user_id])
        return not found

    # Another scenario may have killed the broker, whose lost events are sent again. No other inconsistency is repaired.
    with suppress(AssertionError):
        eventually(is_consistent)
    assert found == []
