"""A process is killed exactly there, while a story passes; the story ends well."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.support.platform import Platform
from tests.support.waiting import eventually

from .checker import Finding
from .world import Learner, World

pytestmark = pytest.mark.chaos

Story = Callable[[Learner], None]


def enrols(learner: Learner) -> None:
    learner.enrol(learner.world.free_courses[0]["id"])


def completes(learner: Learner) -> None:
    course_id = learner.enrolled_in
    learner.complete(course_id, learner.lessons(course_id)[0])


def completes_later(learner: Learner) -> None:
    course_id = learner.enrolled_in
    learner.complete_later(course_id, learner.lessons(course_id)[0])


def buys(learner: Learner) -> None:
    learner.buy(learner.world.paid_courses[0]["id"])


@dataclass(frozen=True)
class Point:
    name: str
    story: Story
    victim: str | None = None  # who is killed, where it is not whoever gets there

    def __str__(self) -> str:
        return f"{self.name}, {self.victim} is killed" if self.victim else self.name


POINTS = [
    # The gateway.
    Point("before the push: progress.complete_lesson", completes),
    Point("after the push: progress.complete_lesson", completes),
    Point("answered: progress.complete_lesson", completes),
    Point("answered: payments.start_checkout", buys),
    Point("after the push: payments.start_checkout", buys, "gateway"),  # the parent is killed, its child waits on
    # The queue's server.
    Point("before the push: progress.complete_lesson", completes, "queue"),
    Point("after the push: payments.start_checkout", buys, "queue"),
    # A worker, at a command.
    Point("begun: progress.complete_lesson", completes),
    Point("in the transaction: progress.complete_lesson", completes),
    Point("after the commit: progress.complete_lesson", completes),
    Point("after the reply: progress.complete_lesson", completes),
    Point("after the commit: progress.accept_operation", completes_later),
    Point("begun: progress.run_operation", completes_later),
    # A worker, with a payment provider.
    Point("after the attempt's commit", buys),
    Point("after the provider's answer", buys),
    Point("before the outcome's commit", buys),
    Point("in the transaction: payments.receive_webhook", buys),
    Point("after the commit: payments.receive_webhook", buys),
    Point("between a notice and its outcome", buys),
    # The relay.
    Point("produced, not acknowledged", completes),
    Point("acknowledged, not marked", completes),
    Point("produced, not acknowledged", completes, "kafka"),
    Point("acknowledged, not marked", completes, "kafka"),
    # The bridge, between Kafka and a handler.
    Point("polled: COURSE_PURCHASED", buys),
    Point("sent: courses.grant_access", buys),
    Point("handled, not stored: COURSE_PURCHASED", buys),
    Point("stored, not committed: courses", buys),
    # A worker, at an event.
    Point("begun: courses.grant_access", buys),
    Point("in the transaction: courses.grant_access", buys),
    Point("after the commit: courses.grant_access", buys),
    Point("after the reply: courses.grant_access", buys),
    Point("in the transaction: notifications.deliver_email", enrols),  # the mail has gone out, and nobody has noted it
    # What keeps the data, during any of it.
    Point("in the transaction: progress.complete_lesson", completes, "postgres"),
    Point("in the transaction: courses.grant_access", buys, "postgres"),
    Point("begun: notifications.welcome_learner", enrols, "mongo"),
    Point("begun: notifications.deliver_email", enrols, "mail"),
    Point("begun: payments.apply_provider_event", buys, "beat"),
]


class Stories:
    """The stories of all points that were asked for, each begun as soon as the point before has struck.

    They end while the next ones run: most of the time a story waits for a process to come back.
    """

    def __init__(self, world: World, points: list[Point]) -> None:
        self._world = world
        self._pool = ThreadPoolExecutor(10)
        self._begun = {point: Future[Future[Learner]]() for point in points}
        self._driver = threading.Thread(target=self._drive)
        self._driver.start()

    def ending(self, point: Point) -> Learner:
        """The learner whose story has ended, after the process was killed at ``point``."""
        return self._begun[point].result().result()

    def close(self) -> None:
        self._driver.join()
        self._pool.shutdown()
        self._world.disarm()

    def _drive(self) -> None:
        for point, begun in self._begun.items():
            try:
                begun.set_result(self._begin(point))
            except Exception as error:  # noqa: BLE001 whatever it is, the test of this point tells
                begun.set_exception(error)

    def _begin(self, point: Point) -> "Future[Learner]":
        learner = Learner(self._world).register()
        if point.story in {completes, completes_later}:
            learner.enrol(self._world.free_courses[0]["id"])
        self._world.arm(point.name, victim=point.victim)
        story = self._pool.submit(lambda: point.story(learner) or learner)
        eventually(lambda: self._world.has_struck, f"somebody at {point.name!r}", seconds=90)
        return story


@pytest.fixture(scope="module")
def stories(running_platform: Platform, request) -> Iterator[Stories]:
    wanted = [item.callspec.params["point"] for item in request.session.items if "stories" in item.fixturenames]
    stories = Stories(World(running_platform), wanted)
    yield stories
    stories.close()


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_kill_at_a_named_point_loses_and_doubles_nothing(
    running_platform: Platform, stories: Stories, point: Point
) -> None:
    assert_all_is_well(World(running_platform), stories.ending(point))


def assert_all_is_well(world: World, learner: Learner) -> None:
    world.rest([learner.user_id])
    found: list[Finding] = []

    def healed() -> bool:
        found[:] = world.findings(learner.told, users=[learner.user_id])
        return not found

    # The point of another story may have struck the broker meanwhile: what it lost is sent again. Nothing else heals.
    with suppress(AssertionError):
        eventually(healed, seconds=30)
    assert found == []
