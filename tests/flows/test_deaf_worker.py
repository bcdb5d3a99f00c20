"""A worker that is up and hears nothing is found by its canary, and another takes its place."""

import pytest
from kombu import Connection

from celery_app import celery_app

from .shop import Shop

pytestmark = pytest.mark.flow


def test_a_deaf_worker_is_replaced_and_the_shop_goes_on(shop: Shop) -> None:
    learner, course_id = shop.learner().enrolled()
    deaf = shop.platform.stack.pids()["worker-progress"]
    with Connection(f"redis://127.0.0.1:{shop.platform.stack.port('queue')}/0") as connection:
        celery_app.control.cancel_consumer("progress", connection=connection, reply=True, timeout=5)
    progress = learner.complete(course_id, learner.lessons(course_id)[0])  # repeated until there is an answer
    assert progress["lessons_completed"] == 1
    assert shop.platform.stack.pids()["worker-progress"] != deaf
