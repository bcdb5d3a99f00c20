"""The watchdog detects a worker that stopped consuming, and the supervisor starts another one."""

from socket import gethostname

from celery import Celery

from .harness import ScenarioHarness, eventually


def test_worker_that_stopped_consuming_is_replaced(harness: ScenarioHarness) -> None:
    learner, course_id = harness.learner().enroll_in_free_course()
    lesson_id = learner.lessons(course_id)[0]
    pids = harness.platform.stack.pids
    stopped_pid = pids()["worker-progress"]
    queues = f"redis://127.0.0.1:{harness.platform.stack.port('queue')}/0"
    with Celery(broker=queues, set_as_current=False) as operator:
        to = [f"progress@{gethostname()}"]
        assert operator.control.cancel_consumer("progress", destination=to, reply=True, limit=1, timeout=10)
    # Each request is repeated until it succeeds. A message of the worker's last BRPOP is still answered.
    eventually(
        lambda: learner.complete(course_id, lesson_id) and pids().get("worker-progress") not in (None, stopped_pid),
        seconds=90,
    )
    assert learner.progress(course_id)["lessons_completed"] == 1
