"""Stripe's stand-in as a process of its own, and the service in front of it."""

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session

from tests.payments.shop import Shop, make_stripe
from tests.standins.conftest import Receiver, StandIn

NO_FAULTS = {"error_500": 0, "error_429": 0, "drop_response_after_commit": 0, "drop_webhooks": 0}


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def running_standin(tmp_path_factory, receiver) -> Iterator[StandIn]:
    standin = StandIn("stripe", tmp_path_factory.mktemp("stripe"), receiver.url)
    yield standin
    standin.kill()


@pytest.fixture
def standin(running_standin) -> Iterator[StandIn]:
    yield running_standin
    running_standin.faults(**NO_FAULTS)


@pytest.fixture(scope="session")
def stripe(running_standin):
    return make_stripe(running_standin.url)


@pytest.fixture
def shop(session: Session, stripe, standin, receiver) -> Shop:
    return Shop(session, {"stripe": stripe}, standin, receiver)
