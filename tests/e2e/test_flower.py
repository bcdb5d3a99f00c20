"""Flower requires a login, and shows queues and task names without message contents."""

import requests

from settings import SERVICES
from tests.e2e.harness import ScenarioHarness
from tests.support.polling import eventually

OPS = ("ops", "ops")


def test_flower_requires_authentication(harness: ScenarioHarness):
    url = f"http://127.0.0.1:{harness.platform.stack.port('flower')}"

    for path in ("/", "/workers", "/tasks", "/api/workers", "/metrics"):
        assert requests.get(url + path, timeout=10).status_code == 401
    assert requests.get(f"{url}/workers", auth=("ops", "guess"), timeout=10).status_code == 401


def test_flower_is_read_only(harness: ScenarioHarness):
    url = f"http://127.0.0.1:{harness.platform.stack.port('flower')}/api"

    for path in (
        "task/send-task/users.set_roles",
        "task/apply/users.list_users",
        "task/async-apply/users.list_users",
        "task/abort/x",
        "task/revoke/x",
        "task/timeout/users.list_users",
        "task/rate-limit/users.list_users",
        "worker/shutdown/x",
        "worker/pool/restart/x",
        "worker/pool/grow/x",
        "worker/pool/shrink/x",
        "worker/pool/autoscale/x",
        "worker/queue/add-consumer/x",
        "worker/queue/cancel-consumer/x",
    ):
        assert requests.post(f"{url}/{path}", json={}, auth=OPS, timeout=10).status_code == 405, path


def test_flower_lists_queues_and_task_names(harness: ScenarioHarness):
    url = f"http://127.0.0.1:{harness.platform.stack.port('flower')}/api"
    learner = harness.learner()
    learner.profile()

    def queues() -> set[str]:
        workers = requests.get(f"{url}/workers", params={"refresh": 1}, auth=OPS, timeout=30).json()
        return {queue["name"] for worker in workers.values() for queue in worker.get("active_queues", [])}

    eventually(lambda: queues() >= set(SERVICES), "every queue")
    filled = eventually(
        lambda: requests.get(
            f"{url}/tasks", params={"taskname": "users.initialize_profile"}, auth=OPS, timeout=10
        ).json(),
        "the task",
    )
    assert {(task["name"], task["args"], task["kwargs"]) for task in filled.values()} == {
        ("users.initialize_profile", "()", "{}")
    }
