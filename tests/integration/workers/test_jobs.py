"""The jobs table decides which job runs; beat only sends hints, and several beats are harmless."""

import re
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bridge import cli
from celery_app import celery_app
from core.bus.jobs import JobRun, period_start
from core.db import session_factory
from models.errors import ProviderUnavailable
from tests.support.polling import eventually, run_concurrently
from tests.support.tasks import Killed, Notes, registered, write_note
from workers.runtime import jobs
from workers.runtime.jobs import JobDefinition
from workers.runtime.metrics import DATABASE_METRICS, DatabaseMetricCollector
from workers.runtime.tasks import TASKS

PERIOD_SECONDS = 10_000_000  # longer than any test
FAULTS: list[BaseException] = []
SLOTS: list[datetime] = []
RUNNING = threading.Event()
MAY_END = threading.Event()


def sweep(session: Session) -> None:
    write_note(session, "swept")
    session.execute(text("SELECT pg_sleep(0.1)"))
    if FAULTS:
        raise FAULTS[0]


def compare(session: Session, *, slot: datetime) -> None:
    SLOTS.append(slot)
    if FAULTS:
        raise FAULTS[0]


def take_long(session: Session) -> None:
    write_note(session, "started")
    RUNNING.set()
    assert MAY_END.wait(10)


@pytest.fixture(autouse=True)
def tasks():
    with registered(sweep, compare, take_long, as_call=partial(JobDefinition, every_seconds=PERIOD_SECONDS)):
        yield
    FAULTS.clear()
    SLOTS.clear()
    RUNNING.clear()
    MAY_END.clear()


@pytest.fixture
def send_hint(deliver):
    return lambda: deliver("progress.sweep")


@pytest.fixture
def advance_time(database):
    """Return a function that moves every lease and waiting time into the past."""
    earlier = "UPDATE bus.jobs SET leased_until = leased_until - :by, run_after = run_after - :by"
    return lambda **by: database.execute(earlier, by=timedelta(**by))


def attempts(database) -> int:
    return database.value("SELECT attempts FROM bus.jobs")


def test_job_runs_once_per_period(send_hint, notes: Notes):
    send_hint()
    send_hint()

    assert notes() == ["swept"]


def test_concurrent_hints_run_job_once(send_hint, notes: Notes):
    run_concurrently(send_hint, send_hint, send_hint)

    assert notes() == ["swept"]


def test_period_has_one_row(database, send_hint, notes: Notes):
    send_hint()
    again = "INSERT INTO bus.jobs (kind, slot, attempts, run_after) SELECT kind, slot, 0, now() FROM bus.jobs"
    with pytest.raises(IntegrityError):
        database.execute(again)


def test_job_runs_again_in_next_period(database, send_hint, notes: Notes):
    send_hint()
    database.execute("UPDATE bus.jobs SET slot = slot - interval '1 day'")
    send_hint()

    assert notes() == ["swept"] * 2


def test_killed_job_is_resumed_after_lease(send_hint, notes: Notes, advance_time):
    FAULTS.append(Killed())
    with pytest.raises(Killed):
        send_hint()
    FAULTS.clear()
    send_hint()
    assert notes() == []  # the lease has not expired, so the job may still be running
    advance_time(minutes=3)
    send_hint()

    assert notes() == ["swept"]


def test_failed_job_is_retried_with_delay(database, send_hint, notes: Notes, advance_time):
    FAULTS.append(ValueError("a bug"))
    send_hint()
    FAULTS.clear()
    send_hint()
    assert notes() == []
    assert "a bug" in database.value("SELECT last_error FROM bus.jobs")
    advance_time(seconds=3)
    send_hint()

    assert notes() == ["swept"]


@pytest.mark.parametrize("fault", [ValueError("a bug"), Killed()], ids=repr)
def test_job_is_given_up_after_five_attempts(database, send_hint, notes: Notes, advance_time, fault):
    FAULTS.append(fault)
    for _ in range(7):
        with suppress(Killed):
            send_hint()
        advance_time(minutes=3)

    assert attempts(database) == 5
    FAULTS.clear()
    send_hint()
    assert notes() == []


def test_given_up_job_runs_in_next_period(database, send_hint, notes: Notes):
    send_hint()
    database.execute("UPDATE bus.jobs SET slot = slot - interval '1 day', attempts = 5, finished_at = NULL")
    send_hint()

    assert notes() == ["swept"] * 2


def test_slot_is_aligned_to_its_period():
    assert period_start(datetime(2026, 1, 1, 10, 59, 59, tzinfo=UTC), 3600) == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert period_start(datetime(2026, 1, 1, 11, tzinfo=UTC), 3600) == datetime(2026, 1, 1, 11, tzinfo=UTC)


def test_beat_schedules_every_job_with_expiring_hints():
    jobs = {name for name, call in TASKS.items() if isinstance(call, JobDefinition)} - {
        "progress.sweep",
        "progress.compare",
        "progress.take_long",
    }
    assert jobs == set(celery_app.conf.beat_schedule)
    for entry in celery_app.conf.beat_schedule.values():
        assert entry["options"]["expires"] <= entry["schedule"]


# Slots.


def test_job_receives_its_slot(database, deliver):
    deliver("progress.compare")
    database.execute("UPDATE bus.jobs SET slot = slot - interval '1 day', finished_at = NULL, leased_until = NULL")
    deliver("progress.compare")

    present, missed = SLOTS[0], SLOTS[1]
    assert present == period_start(datetime.now(UTC), PERIOD_SECONDS)
    assert missed == present - timedelta(days=1)


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize(("task", "attempts_counted"), [("progress.compare", 0), ("progress.sweep", 5)])
def test_unavailable_provider_does_not_count_for_slot_jobs(
    database, deliver, advance_time, task: str, attempts_counted: int
):
    FAULTS.append(ProviderUnavailable("Stripe"))
    for _ in range(7):
        deliver(task)
        advance_time(minutes=3)

    assert attempts(database) == attempts_counted


# Leases.


def test_running_job_renews_its_lease(database, deliver, notes: Notes, advance_time, monkeypatch):
    monkeypatch.setattr(jobs, "_RENEW_EVERY_SECONDS", 0.05)
    first = threading.Thread(target=deliver, args=["progress.take_long"])
    first.start()
    assert RUNNING.wait(10)
    advance_time(minutes=3)
    eventually(lambda: database.value("SELECT leased_until > now() FROM bus.jobs"), "the renewed lease")

    deliver("progress.take_long")
    MAY_END.set()
    first.join()

    assert (notes(), attempts(database)) == (["started"], 1)


def test_run_without_lease_does_not_finish_the_next_run(database, deliver, notes: Notes, advance_time):
    first = threading.Thread(target=deliver, args=["progress.take_long"])
    first.start()
    assert RUNNING.wait(10)
    database.execute("UPDATE bus.jobs SET attempts = attempts + 1, claims = claims + 1")  # claimed by another run
    MAY_END.set()
    first.join()

    assert database.value("SELECT finished_at IS NULL AND leased_until IS NOT NULL FROM bus.jobs")


def test_attempt_without_lease_does_not_change_postponed_run(database, advance_time):
    slot = period_start(datetime.now(UTC), PERIOD_SECONDS)
    with session_factory("progress").begin() as session:
        slow = JobRun.claim(session, "progress.compare", slot)
    advance_time(minutes=3)
    with session_factory("progress").begin() as session:
        second = JobRun.claim(session, "progress.compare", slot)
    with session_factory("progress").begin() as session:
        second.postpone(session, "Stripe is unavailable.")  # not counted, so ``attempts`` is 1 again

    with session_factory("progress").begin() as session:
        slow.renew(session)
        slow.fail(session, "The slow attempt failed.")

    [state] = database.rows("SELECT leased_until, last_error, attempts FROM bus.jobs")
    assert state == (None, "Stripe is unavailable.", 1)


# Messages, metrics and the CLI.


class Violation(Exception):
    """An error of the database driver."""

    pgcode = "23505"


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (ProviderUnavailable("Stripe"), "Stripe"),
        (ValueError("a bug"), "a bug"),
        (IntegrityError("INSERT", {}, Violation("duplicate key DETAIL: (phone)=(7431)")), "23505"),
    ],
    ids=["expected", "bug", "database"],
)
def test_last_error_is_readable_and_shows_no_internals(database, send_hint, notes: Notes, fault, shown):
    FAULTS.append(fault)

    send_hint()

    last_error = database.value("SELECT last_error FROM bus.jobs")
    assert shown in last_error
    assert not re.search("INSERT|7431|ProviderUnavailable", last_error)


def metric_samples(name: str) -> dict[str, float]:
    """Return the samples of one metric by kind."""
    found = [metric for metric in DatabaseMetricCollector("progress").collect() if metric.name == name]
    return {sample.labels["kind"]: sample.value for metric in found for sample in metric.samples}


@pytest.fixture(autouse=True)
def uncached_metrics(monkeypatch):
    monkeypatch.setattr("workers.runtime.metrics._MIN_QUERY_INTERVAL_SECONDS", 0)
    monkeypatch.setattr("workers.runtime.metrics._MAX_QUERY_TIME_SHARE", 1e9)
    for _, metric in DATABASE_METRICS:
        monkeypatch.setattr(metric, "_next_at", 0.0)


def test_last_success_of_a_job_is_exported(database, deliver, notes: Notes):
    deliver("progress.sweep")
    finished_at = database.value("SELECT finished_at FROM bus.jobs").timestamp()

    assert metric_samples("coursebus_job_last_success_timestamp_seconds")["progress.sweep"] == finished_at
    assert metric_samples("coursebus_job_period_seconds")["progress.sweep"] == PERIOD_SECONDS


def test_never_run_job_is_overdue_since_worker_start(database):
    assert metric_samples("coursebus_job_last_success_timestamp_seconds")["progress.sweep"] == jobs._STARTED_AT  # noqa: SLF001


def give_up(deliver, advance_time, task: str) -> None:
    FAULTS.append(ValueError("a bug"))
    for _ in range(5):
        deliver(task)
        advance_time(minutes=3)
    FAULTS.clear()


def test_given_up_slot_is_exported_until_a_later_one_succeeds(database, deliver, notes: Notes, advance_time):
    give_up(deliver, advance_time, "progress.sweep")
    assert metric_samples("coursebus_jobs_given_up")["progress.sweep"] == 1

    database.execute("UPDATE bus.jobs SET slot = slot - interval '1 day'")
    deliver("progress.sweep")

    assert metric_samples("coursebus_jobs_given_up")["progress.sweep"] == 0


def test_given_up_slot_job_is_exported_until_that_slot_succeeds(database, deliver, notes: Notes, advance_time):
    give_up(deliver, advance_time, "progress.compare")
    database.execute("UPDATE bus.jobs SET slot = slot - interval '1 day'")
    deliver("progress.compare")
    assert metric_samples("coursebus_jobs_given_up")["progress.compare"] == 1

    given_up = database.value("SELECT min(slot) FROM bus.jobs")
    assert cli.main(["jobs", "run-again", "progress.compare", given_up.isoformat()]) == 0
    deliver("progress.compare")

    assert SLOTS[-1] == given_up
    assert metric_samples("coursebus_jobs_given_up")["progress.compare"] == 0


def test_jobs_are_listed_with_their_given_up_slots(database, deliver, notes: Notes, advance_time, capsys):
    deliver("progress.sweep")
    give_up(deliver, advance_time, "progress.compare")
    capsys.readouterr()  # discard the log

    status = cli.main(["jobs", "list"])

    compared, _given_up, swept = capsys.readouterr().out.splitlines()
    assert status == 1
    assert compared.startswith("progress.compare  last success never")
    assert "a bug" in compared
    assert swept.startswith("progress.sweep  last success 20")


def test_only_given_up_slots_can_be_run_again(database, deliver, notes: Notes, capsys):
    deliver("progress.sweep")
    slot = database.value("SELECT slot FROM bus.jobs")

    assert cli.main(["jobs", "run-again", "progress.sweep", slot.isoformat()]) == 1
    assert "There is no given-up slot" in capsys.readouterr().out
