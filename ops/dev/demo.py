"""What the embedded database contains: whether it has the tables, and whether it has or needs the demo content."""

import hashlib
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2

from settings import ROOT

PEOPLE_PENDING = "demo-people.pending"  # a file in the state directory until the demo people have done their steps
_PATH = Path(__file__).with_name("catalogue.toml")


def catalogue() -> dict[str, Any]:
    """Return the texts of the demo courses, plans, bundles and coupons, and their instructors."""
    return tomllib.loads(_PATH.read_text())


def sub_of(email: str) -> str:
    # The id that the fake of Auth0 assigns, so that the instructor's token finds the courses.
    return f"auth0|{hashlib.sha256(email.encode()).hexdigest()[:24]}"


def is_unused(port: int) -> bool:
    """Return whether the embedded database has no users yet and its demo content is not complete.

    The coupons are the last part of the demo content, and its instructors are its only users.
    """
    instructors = [sub_of(person["email"]) for person in catalogue()["instructors"].values()]
    connection = psycopg2.connect(host="127.0.0.1", port=port, user="coursebus", dbname="coursebus")
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(_IS_UNUSED, {"instructors": instructors})
        [is_unused] = cursor.fetchone() or [False]
        return bool(is_unused)


def has_people(port: int) -> bool:
    """Return whether the embedded database has users besides the instructors of the demo courses."""
    instructors = [sub_of(person["email"]) for person in catalogue()["instructors"].values()]
    connection = psycopg2.connect(host="127.0.0.1", port=port, user="coursebus", dbname="coursebus")
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM users.users WHERE sub <> ALL (%s))", [instructors])
        return cursor.fetchone() == (True,)


def is_migrated(port: int) -> bool:
    """Return whether the embedded database has the last migration; so it has the roles, which are created before it.

    The migrations themselves take a second to find out, because they import Alembic and the models.
    """
    last = max(path.name for path in (ROOT / "migrations" / "versions").glob("*.py")).partition("_")[0]
    connection = psycopg2.connect(host="127.0.0.1", port=port, user="coursebus", dbname="coursebus")
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.alembic_version') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return False
        cursor.execute("SELECT version_num FROM public.alembic_version")
        return cursor.fetchall() == [(last,)]


_IS_UNUSED = """
    SELECT NOT EXISTS (SELECT FROM payments.coupons)
        AND NOT EXISTS (SELECT FROM users.users WHERE sub <> ALL (%(instructors)s))
"""
