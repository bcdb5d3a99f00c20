import pytest
from sqlalchemy import select

from core.db import session_factory
from models.courses.course import Course
from models.users import User
from ops.dev import seed
from ops.dev.demo import sub_of
from ops.fakes.auth0 import users
from ops.fakes.store import Store


def test_second_seed_run_writes_nothing(database):
    assert seed.seed() == 24
    events = database.count("bus.outbox")

    assert seed.seed() == 0
    assert database.count("bus.outbox") == events
    assert database.value("SELECT count(*) FROM bus.outbox WHERE type = 'COURSE_PUBLISHED'") == 24
    assert database.rows("SELECT interval, jsonb_array_length(course_ids) FROM payments.plans") == [("month", 8)]


@pytest.mark.usefixtures("database")
def test_seed_catalogue_is_varied():
    seed.seed()
    with session_factory("courses").begin() as session:
        courses = list(session.scalars(select(Course)))

    with session_factory("users")() as session:
        assert {tuple(user.roles) for user in session.scalars(select(User))} == {("instructor",)}
    assert {course.status for course in courses} == {"published"}
    assert sum(course.price_minor == 0 for course in courses) == 3
    assert {course.currency for course in courses} == {"USD", "RUB"}
    assert {course.language for course in courses} == {"en", "ru"}
    assert len({course.instructor_id for course in courses}) == 2


def test_seed_instructor_matches_fake_auth0_user(tmp_path):
    store = Store(tmp_path / "auth0.db")
    with store.transaction() as documents:
        user = users.get_or_sign_up(documents, "instructor@demo.test")
    store.close()

    assert user["user_id"] == sub_of("instructor@demo.test")
