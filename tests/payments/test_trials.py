"""A person tries the courses of a plan once, whichever plan offers them."""
# ruff: noqa: F811
# The fixtures are those of test_subscriptions.

import pytest

from models.errors import PaymentMethodMissing
from tests.payments.shop import make_offer
from tests.payments.test_subscriptions import make_plan, run, shop, start, time  # noqa: F401 fixtures


@pytest.fixture
def course_ids(session) -> list[str]:
    return [str(make_offer(session)) for _ in range(3)]


@pytest.mark.parametrize("tried", [1, 2, 3])
def test_plan_with_a_course_that_was_on_trial_begins_without_one(shop, make_plan, course_ids, time, tried):
    start(shop, make_plan(trial_days=7, course_ids=course_ids[:tried]), "stripe")
    with pytest.raises(PaymentMethodMissing):
        start(shop, make_plan(trial_days=7, course_ids=course_ids), "stripe")
    time.advance(days=7)
    run(shop)

    with pytest.raises(PaymentMethodMissing):
        start(shop, make_plan(trial_days=7, course_ids=course_ids), "stripe")


def test_plan_of_other_courses_begins_with_a_trial(shop, make_plan, course_ids):
    start(shop, make_plan(trial_days=7, course_ids=course_ids[:1]), "stripe")

    assert start(shop, make_plan(trial_days=7, course_ids=course_ids[1:]), "stripe")["status"] == "trialing"
