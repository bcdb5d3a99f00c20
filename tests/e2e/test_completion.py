"""Scenario: completed lessons count at once, the inbox follows, and the certificate arrives by mail."""

from concurrent.futures import ThreadPoolExecutor

from .harness import ScenarioHarness

ENROLLMENT_NOTIFICATIONS = ["ENROLLMENT_CREATED", "USER_CREATED"]


def test_completed_lesson_updates_progress_and_inbox(harness: ScenarioHarness) -> None:
    learner, course_id = harness.learner().enroll_in_free_course()
    lessons = learner.lessons(course_id)
    completed = learner.complete(course_id, lessons[0])
    shown = learner.progress(course_id)
    assert shown == completed
    assert (completed["lessons_completed"], completed["lessons_total"]) == (1, len(lessons))
    learner.wait_for_notifications([*ENROLLMENT_NOTIFICATIONS, "LESSON_COMPLETED"], mails=2)


def test_last_lesson_completes_course(harness: ScenarioHarness) -> None:
    learner, course_id = harness.learner().enroll_in_free_course()
    lessons = learner.lessons(course_id)
    for lesson_id in lessons:
        last = learner.complete(course_id, lesson_id)
    assert (last["status"], last["percent"], last["next_lesson_id"]) == ("completed", 100, None)
    notes = [*ENROLLMENT_NOTIFICATIONS, *["LESSON_COMPLETED"] * len(lessons), "COURSE_COMPLETED", "CERTIFICATE_ISSUED"]
    learner.wait_for_notifications(notes, mails=len(ENROLLMENT_NOTIFICATIONS) + 1)


def test_concurrent_completions_count_once(harness: ScenarioHarness) -> None:
    learner, course_id = harness.learner().enroll_in_free_course()
    lesson_id = learner.lessons(course_id)[0]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: learner.complete(course_id, lesson_id), range(8)))
    assert {answer["lessons_completed"] for answer in answers} == {1}
    learner.wait_for_notifications([*ENROLLMENT_NOTIFICATIONS, "LESSON_COMPLETED"], mails=2)
