"""Every Kafka client of the product logs in, and uses TLS where it is set, at a broker of Apache Kafka.

The broker with passwords has the listener settings of ops/compose.yml. Run with ``make test ARGS="-m kafka"``.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic

import settings
from bridge import cli, kafka
from ops.dev.ports import free_base
from settings import ROOT
from tests.support.apache_kafka import ApacheKafka, missing_requirement
from tests.support.polling import eventually
from tests.unit.bridge.test_kafka_configuration import CLIENTS

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_requirement()), reason=missing_requirement() or "installed"),
]

COMPOSE = yaml.safe_load((ROOT / "ops" / "compose.yml").read_text())["services"]["kafka"]["environment"]
PASSWORDS = {"KAFKA_PASSWORD": "pw-of-coursebus", "KAFKA_BROKER_PASSWORD": "pw-of-broker"}
STORE_PASSWORD = "changeit"


def compose_security(port: int) -> dict[str, object]:
    """Return the listener settings of ops/compose.yml for a broker on this machine, named as in server.properties."""
    given = {
        name.removeprefix("KAFKA_").replace("_", ".").lower(): re.sub(
            r"\$\{(\w+):\?\}", lambda match: PASSWORDS[match[1]], value
        )
        for name, value in COMPOSE.items()
        if re.search("LISTENER|SASL|QUORUM", name)
    }
    ports = {"9092": str(port), "9093": str(port + 1), "kafka:": "127.0.0.1:", "CLIENT://:": "CLIENT://127.0.0.1:"}
    for inside, here in ports.items():
        given = {name: value.replace(inside, here) for name, value in given.items()}
    return dict(given)


@pytest.fixture(scope="module")
def password_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    port = free_base()
    broker = ApacheKafka(tmp_path_factory.mktemp("kafka"), port, security=compose_security(port))
    broker.start()
    yield broker
    broker.stop()


@contextmanager
def connected_to(broker: ApacheKafka, **security: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"KAFKA_BOOTSTRAP_SERVERS": broker.address, **security}.items():
            patch.setattr(settings, name, value)
        yield


LOGIN = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_MECHANISM": "PLAIN",
    "KAFKA_USERNAME": "coursebus",
    "KAFKA_PASSWORD": PASSWORDS["KAFKA_PASSWORD"],
}


@pytest.mark.parametrize("changes", [{"KAFKA_PASSWORD": "wrong"}, {"KAFKA_USERNAME": "stranger"}], ids=str)
def test_refused_login_is_reported(
    password_broker: ApacheKafka, changes: dict[str, str], capsys: pytest.CaptureFixture[str]
):
    with connected_to(password_broker, **{**LOGIN, **changes}):
        status = cli.main(["lag"])

    assert status == 1
    assert capsys.readouterr().err.startswith("Kafka refused the login (")


def list_topics(client: Any) -> set[str]:
    return set(client.list_topics(timeout=10).topics)


def test_event_passes_a_broker_with_passwords(password_broker: ApacheKafka):
    with connected_to(password_broker, **LOGIN):
        admin = kafka.admin()
        admin.create_topics([NewTopic("users", 1, 1)])["users"].result(timeout=20)
        producer = kafka.producer()
        producer.produce("users", b"hello")
        assert producer.flush(20) == 0
        consumer = kafka.consumer("users")
        consumer.subscribe(["users"])

        message = eventually(lambda: consumer.poll(1), "the message", seconds=60)

        consumer.close()
    assert message.value() == b"hello"


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize(
    "changes",
    [{"KAFKA_PASSWORD": "wrong"}, {"KAFKA_USERNAME": "stranger"}, {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}],
    ids=str,
)
def test_no_client_connects_without_the_password(password_broker: ApacheKafka, name: str, changes: dict[str, str]):
    with connected_to(password_broker, **{**LOGIN, **changes}):
        client = CLIENTS[name]()

        with pytest.raises(KafkaException):
            client.list_topics(timeout=3)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create the certificate of a broker for 127.0.0.1, in a store for the broker and as PEM for clients."""
    directory = tmp_path_factory.mktemp("certificates")
    store = ["-keystore", str(directory / "broker.p12"), "-storepass", STORE_PASSWORD, "-alias", "broker"]
    for command in (
        ["-genkeypair", "-keyalg", "EC", "-dname", "CN=127.0.0.1", "-ext", "SAN=ip:127.0.0.1", "-validity", "2"],
        ["-exportcert", "-rfc", "-file", str(directory / "ca.pem")],
    ):
        subprocess.run(["keytool", *command, *store], check=True, capture_output=True)
    return directory


@pytest.fixture(scope="module")
def tls_broker(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[ApacheKafka]:
    port = free_base()
    security = {
        **compose_security(port),
        "listener.security.protocol.map": "CLIENT:SASL_SSL,CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PKCS12",
        "ssl.keystore.location": certificates / "broker.p12",
        "ssl.keystore.password": STORE_PASSWORD,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": certificates / "ca.pem",
    }
    broker = ApacheKafka(tmp_path_factory.mktemp("kafka"), port, security=security)
    broker.start()
    yield broker
    broker.stop()


@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_verifies_the_certificate_of_the_broker(tls_broker: ApacheKafka, certificates: Path, name: str):
    tls = {**LOGIN, "KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
    with connected_to(tls_broker, **tls, KAFKA_CA_FILE=str(certificates / "ca.pem")):
        assert isinstance(list_topics(CLIENTS[name]()), set)
    with connected_to(tls_broker, **tls, KAFKA_CA_FILE=""):
        client = CLIENTS[name]()
        with pytest.raises(KafkaException):
            client.list_topics(timeout=3)
