"""The demo people give every page something to show."""

from ops.dev.demo_people import Tenant, add_people, people
from tests.support.platform import Platform


def summary(stack: Platform) -> dict[str, list[object]]:
    """Return what the demo people have."""
    emails = [person["email"] for person in people()]
    tables = {
        "orders": "SELECT count(*) FROM payments.orders WHERE user_id = ANY(:ids)",
        "subscriptions": "SELECT count(*) FROM payments.subscriptions WHERE user_id = ANY(:ids)",
        "reviews": "SELECT count(*) FROM courses.reviews WHERE user_id = ANY(:ids)",
        "completed": "SELECT count(*) FROM progress.completed_lessons WHERE user_id = ANY(:ids)",
    }
    ids = [
        row[0] for row in stack.database.rows("SELECT id FROM users.users WHERE email = ANY(:emails)", emails=emails)
    ]
    assert len(ids) == len(emails)
    return {name: [tuple(row) for row in stack.database.rows(sql, ids=ids)] for name, sql in tables.items()}


def test_demo_people_have_orders_progress_and_reviews_once(stack: Platform):
    tenant = Tenant(stack.url, stack.auth0)
    add_people(tenant)
    first = summary(stack)

    add_people(tenant)

    assert summary(stack) == first
    assert (first["subscriptions"], first["reviews"]) == ([(1,)], [(6,)])
