"""The jobs table decides; beat, any number of them, only pokes."""

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
from models.base import sessions
from models.errors import ProviderUnavailable
from models.jobs import Job, slot_of
from tests.support.tasks import Killed, Notes, registered, write
from tests.support.waiting import at_once, eventually
from workers import _jobs
from workers._jobs import JobCall
from workers._metrics import FACTS, Facts
from workers._tasks import CALLS

PERIOD_SECONDS = 10_000_000  # no test sees the end of it
FAULTS: list[BaseException] = []
SLOTS: list[datetime] = []
RUNNING = threading.Event()
MAY_END = threading.Event()


def sweep(session: Session) -> None:
    write(session, "swept")
    session.execute(text("SELECT pg_sleep(0.1)"))
    if FAULTS:
        raise FAULTS[0]


def compare(session: Session, *, slot: datetime) -> None:
    SLOTS.append(slot)
    if FAULTS:
        raise FAULTS[0]


def take_long(session: Session) -> None:
    write(session, "begun")
    RUNNING.set()
    assert MAY_END.wait(10)


@pytest.fixture(autouse=True)
def tasks():
    with registered(sweep, compare, take_long, as_call=partial(JobCall, every_seconds=PERIOD_SECONDS)):
        yield
    FAULTS.clear()
    SLOTS.clear()
    RUNNING.clear()
    MAY_END.clear()


@pytest.fixture
def poke(deliver):
    return lambda: deliver("progress.sweep")


@pytest.fixture
def let_time_pass(database):
    """Moves every mark of time into the past."""
    earlier = "UPDATE bus.jobs SET leased_until = leased_until - :by, run_after = run_after - :by"
    return lambda **by: database.execute(earlier, by=timedelta(**by))


def attempts(database) -> int:
    return database.value("SELECT attempts FROM bus.jobs")


def test_a_job_runs_once_in_its_period(poke, notes: Notes):
    poke()
    poke()

    assert notes() == ["swept"]


def test_two_beats_are_one(poke, notes: Notes):
    at_once(poke, poke, poke)

    assert notes() == ["swept"]


def test_a_period_has_one_row_only(database, poke, notes: Notes):
    poke()
    again = "INSERT INTO bus.jobs (kind, slot, attempts, run_after) SELECT kind, slot, 0, now() FROM bus.jobs"
    with pytest.raises(IntegrityError):
        database.execute(again)


def test_the_next_period_is_another_run(database, poke, notes: Notes):
    poke()
    database.execute("UPDATE bus.jobs SET slot = slot - interval '1 day'")
    poke()

    assert notes() == ["swept"] * 2


def test_a_job_that_was_killed_is_taken_up_when_its_lease_is_over(poke, notes: Notes, let_time_pass):
    FAULTS.append(Killed())
    with pytest.raises(Killed):
        poke()
    FAULTS.clear()
    poke()
    assert notes() == []  # for all that one knows it is still at work
    let_time_pass(minutes=3)
    poke()

    assert notes() == ["swept"]


def test_a_job_that_failed_is_tried_again_later(database, poke, notes: Notes, let_time_pass):
    FAULTS.append(ValueError("a bug"))
    poke()
    FAULTS.clear()
    poke()
    assert notes() == []
    assert "a bug" in database.value("SELECT last_error FROM bus.jobs")
    let_time_pass(seconds=3)
    poke()

    assert notes() == ["swept"]


@pytest.mark.parametrize("fault", [ValueError("a bug"), Killed()], ids=repr)
def test_a_job_is_left_to_people_after_five_attempts(database, poke, notes: Notes, let_time_pass, fault):
    FAULTS.append(fault)
    for _ in range(7):
        with suppress(Killed):
            poke()
        let_time_pass(minutes=3)

    assert attempts(database) == 5
    FAULTS.clear()
    poke()
    assert notes() == []


def test_poison_does_not_stop_the_next_period(database, poke, notes: Notes):
    poke()
    database.execute("UPDATE bus.jobs SET slot = slot - interval '1 day', attempts = 5, finished_at = NULL")
    poke()

    assert notes() == ["swept"] * 2


def test_a_slot_begins_at_the_same_moment_for_everybody():
    assert slot_of(datetime(2026, 1, 1, 10, 59, 59, tzinfo=UTC), 3600) == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert slot_of(datetime(2026, 1, 1, 11, tzinfo=UTC), 3600) == datetime(2026, 1, 1, 11, tzinfo=UTC)


def test_beat_knows_every_job_and_its_pokes_do_not_pile_up():
    jobs = {name for name, call in CALLS.items() if isinstance(call, JobCall)} - {
        "progress.sweep",
        "progress.compare",
        "progress.take_long",
    }
    assert jobs == set(celery_app.conf.beat_schedule)
    for entry in celery_app.conf.beat_schedule.values():
        assert entry["options"]["expires"] <= entry["schedule"]


# Its slot.


def test_job_gets_the_slot_that_it_works_for(database, deliver):
    deliver("progress.compare")
    database.execute("UPDATE bus.jobs SET slot = slot - interval '1 day', finished_at = NULL, leased_until = NULL")
    deliver("progress.compare")

    present, missed = SLOTS[0], SLOTS[1]
    assert present == slot_of(datetime.now(UTC), PERIOD_SECONDS)
    assert missed == present - timedelta(days=1)


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize(("task", "attempts_counted"), [("progress.compare", 0), ("progress.sweep", 5)])
def test_slot_that_counts_waits_for_what_is_unavailable(
    database, deliver, let_time_pass, task: str, attempts_counted: int
):
    FAULTS.append(ProviderUnavailable("Stripe"))
    for _ in range(7):
        deliver(task)
        let_time_pass(minutes=3)

    assert attempts(database) == attempts_counted


# Its lease.


def test_running_job_keeps_its_slot(database, deliver, notes: Notes, let_time_pass, monkeypatch):
    monkeypatch.setattr(_jobs, "_RENEW_EVERY_SECONDS", 0.05)
    first = threading.Thread(target=deliver, args=["progress.take_long"])
    first.start()
    assert RUNNING.wait(10)
    let_time_pass(minutes=3)
    eventually(lambda: database.value("SELECT leased_until > now() FROM bus.jobs"), "the renewed lease")

    deliver("progress.take_long")
    MAY_END.set()
    first.join()

    assert (notes(), attempts(database)) == (["begun"], 1)


def test_run_that_lost_its_lease_does_not_end_the_next_one(database, deliver, notes: Notes, let_time_pass):
    first = threading.Thread(target=deliver, args=["progress.take_long"])
    first.start()
    assert RUNNING.wait(10)
    database.execute("UPDATE bus.jobs SET attempts = attempts + 1, claims = claims + 1")  # claimed again
    MAY_END.set()
    first.join()

    assert database.value("SELECT finished_at IS NULL AND leased_until IS NOT NULL FROM bus.jobs")


def test_attempt_that_lost_its_lease_does_not_change_a_postponed_run(database, let_time_pass):
    slot = slot_of(datetime.now(UTC), PERIOD_SECONDS)
    with sessions("progress").begin() as session:
        slow = Job.claim(session, "progress.compare", slot)
    let_time_pass(minutes=3)
    with sessions("progress").begin() as session:
        second = Job.claim(session, "progress.compare", slot)
    with sessions("progress").begin() as session:
        second.postpone(session, "Stripe is unavailable.")  # its attempt does not count, so ``attempts`` is 1 again

    with sessions("progress").begin() as session:
        slow.renew(session)
        slow.fail(session, "The slow attempt failed.")

    [state] = database.rows("SELECT leased_until, last_error, attempts FROM bus.jobs")
    assert state == (None, "Stripe is unavailable.", 1)


# What people see of it.


class Violation(Exception):
    """An error of the driver."""

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
def test_last_error_is_readable_and_shows_no_internals(database, poke, notes: Notes, fault, shown):
    FAULTS.append(fault)

    poke()

    last_error = database.value("SELECT last_error FROM bus.jobs")
    assert shown in last_error
    assert not re.search("INSERT|7431|ProviderUnavailable", last_error)


def facts(name: str) -> dict[str, float]:
    """The samples of one metric, by kind."""
    found = [metric for metric in Facts("progress").collect() if metric.name == name]
    return {sample.labels["kind"]: sample.value for metric in found for sample in metric.samples}


@pytest.fixture(autouse=True)
def fresh_facts(monkeypatch):
    monkeypatch.setattr("workers._metrics._ASKED_AT_MOST_EVERY_SECONDS", 0)
    monkeypatch.setattr("workers._metrics._SHARE_OF_TIME", 1e9)
    for _, fact in FACTS:
        monkeypatch.setattr(fact, "_next_at", 0.0)


def test_last_success_of_a_job_is_exported(database, deliver, notes: Notes):
    deliver("progress.sweep")
    finished_at = database.value("SELECT finished_at FROM bus.jobs").timestamp()

    assert facts("coursebus_job_last_success_timestamp_seconds")["progress.sweep"] == finished_at
    assert facts("coursebus_job_period_seconds")["progress.sweep"] == PERIOD_SECONDS


def test_job_that_never_ran_is_overdue_from_the_start_of_its_worker_on(database):
    assert facts("coursebus_job_last_success_timestamp_seconds")["progress.sweep"] == _jobs._STARTED_AT  # noqa: SLF001


def give_up(deliver, let_time_pass, task: str) -> None:
    FAULTS.append(ValueError("a bug"))
    for _ in range(5):
        deliver(task)
        let_time_pass(minutes=3)
    FAULTS.clear()


def test_given_up_slot_is_exported_until_a_later_one_succeeds(database, deliver, notes: Notes, let_time_pass):
    give_up(deliver, let_time_pass, "progress.sweep")
    assert facts("coursebus_jobs_given_up")["progress.sweep"] == 1

    database.execute("UPDATE bus.jobs SET slot = slot - interval '1 day'")
    deliver("progress.sweep")

    assert facts("coursebus_jobs_given_up")["progress.sweep"] == 0


def test_given_up_slot_that_counts_is_exported_until_it_succeeds(database, deliver, notes: Notes, let_time_pass):
    give_up(deliver, let_time_pass, "progress.compare")
    database.execute("UPDATE bus.jobs SET slot = slot - interval '1 day'")
    deliver("progress.compare")
    assert facts("coursebus_jobs_given_up")["progress.compare"] == 1

    given_up = database.value("SELECT min(slot) FROM bus.jobs")
    assert cli.main(["jobs", "run-again", "progress.compare", given_up.isoformat()]) == 0
    deliver("progress.compare")

    assert SLOTS[-1] == given_up
    assert facts("coursebus_jobs_given_up")["progress.compare"] == 0


def test_jobs_are_listed_with_their_given_up_slots(database, deliver, notes: Notes, let_time_pass, capsys):
    deliver("progress.sweep")
    give_up(deliver, let_time_pass, "progress.compare")
    capsys.readouterr()  # the log

    status = cli.main(["jobs", "list"])

    compared, _given_up, swept = capsys.readouterr().out.splitlines()
    assert status == 1
    assert compared.startswith("progress.compare  last success never")
    assert "a bug" in compared
    assert swept.startswith("progress.sweep  last success 20")


def test_slot_that_is_not_given_up_is_not_run_again(database, deliver, notes: Notes, capsys):
    deliver("progress.sweep")
    slot = database.value("SELECT slot FROM bus.jobs")

    assert cli.main(["jobs", "run-again", "progress.sweep", slot.isoformat()]) == 1
    assert "There is no given-up slot" in capsys.readouterr().out
