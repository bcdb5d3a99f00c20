"""A user tries the courses of a plan once, whichever plan offers them."""

import pytest

from models.errors import PaymentMethodMissing
from tests.integration.payments.harness import make_offer
from tests.integration.payments.subscription_steps import run, start

pytestmark = pytest.mark.usefixtures("harness_with_yookassa", "time")


@pytest.fixture
def course_ids(session) -> list[str]:
    return [str(make_offer(session)) for _ in range(3)]


@pytest.mark.parametrize("tried", [1, 2, 3])
def test_plan_with_previously_tried_course_has_no_trial(harness, make_plan, course_ids, time, tried):
    start(harness, make_plan(trial_days=7, course_ids=course_ids[:tried]), "stripe")
    with pytest.raises(PaymentMethodMissing):
        start(harness, make_plan(trial_days=7, course_ids=course_ids), "stripe")
    time.advance(days=7)
    run(harness)

    with pytest.raises(PaymentMethodMissing):
        start(harness, make_plan(trial_days=7, course_ids=course_ids), "stripe")


def test_plan_of_untried_courses_has_trial(harness, make_plan, course_ids):
    start(harness, make_plan(trial_days=7, course_ids=course_ids[:1]), "stripe")

    assert start(harness, make_plan(trial_days=7, course_ids=course_ids[1:]), "stripe")["status"] == "trialing"
