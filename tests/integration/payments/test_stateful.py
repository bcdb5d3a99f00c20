"""Stateful test of payments: random sequences of purchases, refunds, disputes, lost messages, crashes and time.

After each sequence time passes until everything has settled. Then the invariants of ``reference_model`` must hold: the
providers' charges minus refunds equal the ledger and the counters; the buyer has access exactly while it is paid for,
on trial or in grace; no duplicate charge is left without a refund; no webhook is left unprocessed.

Each test starts with one of OPENINGS (``shopping.py``), so that every kind of action occurs, and goes on at random.
The sequences are the same in each run; ``HYPOTHESIS_PROFILE=long`` searches for an hour with new ones, as CI does each
night.
"""

import os
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.payments.harness import make_stripe, make_yookassa
from tests.integration.payments.reference_model import ReferenceModel, violations
from tests.integration.payments.shopping import OPENINGS, Shopping
from tests.integration.payments.simulation import (
    Clock,
    FakeProvider,
    PaymentsSimulation,
    arm_crashes,
    move_time,
)
from tests.support.fake_processes import FakeProcess, WebhookReceiver
from workers import payments

STABLE = settings(
    max_examples=2,
    stateful_step_count=9,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=False,
    phases=[Phase.generate],  # a failing sequence is not shortened, which would take minutes
    suppress_health_check=list(HealthCheck),
)
LONG = settings(
    STABLE, max_examples=60, stateful_step_count=25, derandomize=False, phases=[Phase.generate, Phase.shrink]
)


@pytest.fixture(scope="module")
def fakes(tmp_path_factory) -> Any:
    """Return the fakes of this test, whose clocks are moved by years."""
    started = {}
    receiver = WebhookReceiver()
    for name in ("stripe", "yookassa"):
        state = tmp_path_factory.mktemp(name)
        started[name] = FakeProvider(FakeProcess(name, state, receiver.url), state)
    yield started
    for fake in started.values():
        fake.process.kill()
    receiver.close()


@pytest.fixture
def simulation(database, fakes, monkeypatch) -> PaymentsSimulation:
    clock = Clock()
    move_time(monkeypatch, clock)
    monkeypatch.setattr("stripe._http_client.HTTPClient._sleep_time_seconds", lambda *_: 0)
    providers = {
        "stripe": make_stripe(fakes["stripe"].process.url),
        "yookassa": make_yookassa(f"{fakes['yookassa'].process.url}/v3"),
    }
    monkeypatch.setattr(payments, "_PROVIDERS", providers)
    simulation = PaymentsSimulation(database, fakes, clock)
    arm_crashes(monkeypatch, simulation)
    return simulation


@pytest.mark.parametrize("opening", OPENINGS)
def test_money_and_access_match_providers_after_any_sequence(simulation, opening):
    is_long = os.environ.get("HYPOTHESIS_PROFILE") == "long"
    machine = partial(Shopping, simulation, opening)
    if not is_long:
        machine = seed(list(OPENINGS).index(opening))(machine)

    run_state_machine_as_test(machine, settings=LONG if is_long else STABLE)

    assert OPENINGS[opening].causes in simulation.seen


def test_refund_without_webhook_is_found_when_first_pull_is_late(simulation):
    """The only pull runs ten days after the refund, as after an outage of the scheduler."""
    shop = Shopping(simulation)
    shop.buy("bundle", "stripe", is_returning=True)
    [payment] = ReferenceModel(simulation).payments
    simulation.refund_at_provider("stripe", payment.id, 5000)
    simulation.advance(days=10)

    simulation.fetch_missed_events()
    simulation.deliver_events()

    assert violations(simulation) == []
