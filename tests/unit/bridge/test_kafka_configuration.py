"""Every function of bridge/kafka.py that creates a client configures it to log in and to verify certificates."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

import settings
from bridge import kafka


def clients() -> dict[str, Callable[[], Any]]:
    """Return the functions of bridge/kafka.py that create a client, without arguments."""
    found: dict[str, Callable[[], Any]] = {}
    for name, function in inspect.getmembers(kafka, inspect.isfunction):
        signature = inspect.signature(function)
        if signature.return_annotation in {Producer, Consumer, AdminClient}:
            found[name] = partial(function, *["users" for name in signature.parameters if name == "service"])
    return found


CLIENTS = clients()


@pytest.mark.parametrize("name", CLIENTS)
def test_client_is_configured_with_login_and_certificates(monkeypatch, name: str):
    configuration: dict[str, Any] = {}
    for library_class in ("Producer", "Consumer", "AdminClient"):  # the library does not return the configuration
        monkeypatch.setattr(kafka, library_class, configuration.update)
    for setting, value in {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_USERNAME": "coursebus",
        "KAFKA_PASSWORD": "pw",
        "KAFKA_CA_FILE": "/etc/ca.pem",
    }.items():
        monkeypatch.setattr(settings, setting, value)

    CLIENTS[name]()

    expected = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "coursebus",
        "sasl.password": "pw",
        "ssl.ca.location": "/etc/ca.pem",
    }
    assert {option: configuration.get(option) for option in expected} == expected
    # The library verifies the certificate and its host name unless an option turns this off.
    assert configuration.keys().isdisjoint(
        {"enable.ssl.certificate.verification", "ssl.endpoint.identification.algorithm"}
    )


def configuration_of(monkeypatch: pytest.MonkeyPatch, name: str, **values: Any) -> dict[str, Any]:
    configuration: dict[str, Any] = {}
    for library_class in ("Producer", "Consumer", "AdminClient"):
        monkeypatch.setattr(kafka, library_class, configuration.update)
    for setting, value in values.items():
        monkeypatch.setattr(settings, setting, value)
    CLIENTS[name]()
    return configuration


@pytest.mark.parametrize("name", CLIENTS)
def test_further_options_reach_every_client(monkeypatch, name: str):
    options = {"sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.token.endpoint.url": "https://login.example/token"}
    configuration = configuration_of(
        monkeypatch,
        name,
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_SASL_MECHANISM="OAUTHBEARER",
        KAFKA_OPTIONS=options,
    )

    assert configuration.items() >= {**options, "sasl.mechanism": "OAUTHBEARER"}.items()
    assert "sasl.username" not in configuration


def test_options_for_the_delivery_of_events_are_kept(monkeypatch):
    configuration = configuration_of(
        monkeypatch, "producer", KAFKA_OPTIONS={"acks": "1", "enable.idempotence": "false"}
    )

    assert (configuration["acks"], configuration["enable.idempotence"]) == ("all", True)
