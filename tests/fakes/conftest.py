from collections.abc import Callable, Iterator

import pytest

from tests.support.fake_processes import FakeProcess, WebhookReceiver


@pytest.fixture(scope="module")
def receiver() -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def start_fake(tmp_path_factory, receiver) -> Iterator[Callable[[str], FakeProcess]]:
    started: list[FakeProcess] = []

    def start(name: str) -> FakeProcess:
        started.append(FakeProcess(name, tmp_path_factory.mktemp(name), receiver.url))
        return started[-1]

    yield start
    for fake in started:
        fake.kill()
