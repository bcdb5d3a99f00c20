"""The stand-ins of both providers as processes of their own, and the service in front of them."""

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session

from tests.payments.shop import Shop, make_stripe, make_yookassa
from tests.standins.conftest import Receiver, StandIn

NO_FAULTS = {
    "error_500": 0,
    "error_429": 0,
    "drop_response_after_commit": 0,
    "drop_webhooks": 0,
    "delay_ms": 0,
    "pending_refunds": 0,
    "refuse_refunds": 0,
}


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


@pytest.fixture(scope="session")
def running_kassa(tmp_path_factory, receiver) -> Iterator[StandIn]:
    kassa = StandIn("yookassa", tmp_path_factory.mktemp("yookassa"), receiver.url)
    yield kassa
    kassa.kill()


@pytest.fixture
def kassa(running_kassa) -> Iterator[StandIn]:
    yield running_kassa
    running_kassa.faults(**NO_FAULTS)


@pytest.fixture
def kassa_shop(shop: Shop, kassa) -> Shop:
    """The shop with both providers open."""
    shop.kassa = kassa
    shop.providers = {**shop.providers, "yookassa": make_yookassa(f"{kassa.url}/v3")}
    return shop


@pytest.fixture
def shop(session: Session, stripe, standin, receiver) -> Shop:
    return Shop(session, {"stripe": stripe}, standin, receiver)
