"""Story 3: lessons are completed; progress shows it at once, the feed follows, and the certificate comes by mail."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from .shop import Shop

pytestmark = pytest.mark.flow

AFTER_AN_ENROLLMENT = ["ENROLLMENT_CREATED", "USER_CREATED"]


def test_a_completed_lesson_shows_at_once_and_in_the_feed(shop: Shop) -> None:
    learner, course_id = shop.learner().enrolled()
    lessons = learner.lessons(course_id)
    completed = learner.complete(course_id, lessons[0])
    shown = learner.progress(course_id)
    assert shown == completed
    assert (completed["lessons_completed"], completed["lessons_total"]) == (1, len(lessons))
    learner.awaits([*AFTER_AN_ENROLLMENT, "LESSON_COMPLETED"], mails=2)


def test_the_last_lesson_completes_the_course(shop: Shop) -> None:
    learner, course_id = shop.learner().enrolled()
    lessons = learner.lessons(course_id)
    for lesson_id in lessons:
        last = learner.complete(course_id, lesson_id)
    assert (last["status"], last["percent"], last["next_lesson_id"]) == ("completed", 100, None)
    notes = [*AFTER_AN_ENROLLMENT, *["LESSON_COMPLETED"] * len(lessons), "COURSE_COMPLETED", "CERTIFICATE_ISSUED"]
    learner.awaits(notes, mails=len(AFTER_AN_ENROLLMENT) + 1)


def test_eight_completions_at_once_count_once(shop: Shop) -> None:
    learner, course_id = shop.learner().enrolled()
    lesson_id = learner.lessons(course_id)[0]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: learner.complete(course_id, lesson_id), range(8)))
    assert {answer["lessons_completed"] for answer in answers} == {1}
    learner.awaits([*AFTER_AN_ENROLLMENT, "LESSON_COMPLETED"], mails=2)


@pytest.mark.parametrize(
    "victims", [["worker-progress"], ["worker-notifications"], ["bridge"], ["kafka"]], ids="+".join
)
def test_a_kill_in_the_middle_of_a_completion_loses_and_doubles_nothing(shop: Shop, victims: list[str]) -> None:
    learner, course_id = shop.learner().enrolled()
    learner.complete(course_id, learner.lessons(course_id)[0])
    shop.kill(*victims)
    learner.awaits([*AFTER_AN_ENROLLMENT, "LESSON_COMPLETED"], mails=2)
    progress = learner.complete(course_id, learner.lessons(course_id)[0])
    assert progress["lessons_completed"] == 1
