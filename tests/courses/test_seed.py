import pytest
from sqlalchemy import select

from models.base import sessions
from models.courses.course import Course
from ops.local import seed
from ops.local.standins.auth0 import people
from ops.local.standins.store import Store


def test_a_second_run_writes_nothing(database):
    assert seed.seed() == 24
    events = database.count("bus.outbox")

    assert seed.seed() == 0
    assert database.count("bus.outbox") == events
    assert database.value("SELECT count(*) FROM bus.outbox WHERE type = 'COURSE_PUBLISHED'") == 24
    assert database.rows("SELECT interval, jsonb_array_length(course_ids) FROM payments.plans") == [("month", 8)]


@pytest.mark.usefixtures("database")
def test_the_catalogue_is_worth_looking_at():
    seed.seed()
    with sessions("courses").begin() as session:
        courses = list(session.scalars(select(Course)))

    assert {course.status for course in courses} == {"published"}
    assert sum(course.price_minor == 0 for course in courses) == 3
    assert {course.currency for course in courses} == {"USD", "RUB"}
    assert {course.language for course in courses} == {"en", "ru"}
    assert len({course.instructor_id for course in courses}) == 2


def test_the_demo_instructor_is_the_stand_ins_one(tmp_path):
    store = Store(tmp_path / "auth0.db")
    with store.transaction() as documents:
        user = people.signed_up(documents, "instructor@demo.test")
    store.close()

    assert user["user_id"] == seed.sub_of("instructor@demo.test")
