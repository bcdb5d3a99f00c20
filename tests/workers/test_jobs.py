"""The jobs table decides; beat, any number of them, only pokes."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from celery_app import celery_app
from models.jobs import slot_of
from tests.support.tasks import Killed, Notes, registered, write
from tests.support.waiting import at_once
from workers._jobs import JobCall
from workers._tasks import CALLS

PERIOD_SECONDS = 10_000_000  # no test sees the end of it
FAULTS: list[BaseException] = []


def sweep(session: Session) -> None:
    write(session, "swept")
    session.execute(text("SELECT pg_sleep(0.1)"))
    if FAULTS:
        raise FAULTS[0]


@pytest.fixture(autouse=True)
def tasks():
    with registered(sweep, as_call=partial(JobCall, every_seconds=PERIOD_SECONDS)):
        yield
    FAULTS.clear()


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
    jobs = {name for name, call in CALLS.items() if isinstance(call, JobCall)} - {"progress.sweep"}
    assert jobs == set(celery_app.conf.beat_schedule)
    for entry in celery_app.conf.beat_schedule.values():
        assert entry["options"]["expires"] <= entry["schedule"]
