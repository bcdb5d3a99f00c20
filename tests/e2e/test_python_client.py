"""The Python client sells and teaches a course over the running platform, synchronously and asynchronously."""

import asyncio
import re

import pytest
from coursebus import AsyncCoursebus, Coursebus, errors, models

from settings import ROOT
from tests.support.platform import Person, Platform
from tests.support.polling import eventually

from .harness import ScenarioHarness
from .test_authorization_matrix import person_with_permissions


def client_of(person: Person) -> Coursebus:
    return Coursebus(person.url, token=person.token)


def test_learner_buys_and_completes_course(harness: ScenarioHarness):
    with client_of(harness.platform.person()) as client:
        free = next(each for each in client.list_courses(free=True, limit=1) if each.id == harness.free_course()["id"])
        client.create_enrollment(free.id, models.Enroll())
        lessons = [lesson for section in client.get_course(free.slug).sections for lesson in section.lessons]
        eventually(lambda: client.get_own_access(free.id).access, "access")
        progress = [client.complete_lesson(free.id, lesson.id) for lesson in lessons][-1]
        assert (progress.status, progress.percent) == ("completed", 100)
        certificate = eventually(lambda: list(client.list_own_certificates()), "a certificate")[0]
        assert client.verify_certificate(certificate.code).course_id == free.id

        paid = harness.paid_course()
        checkout = client.create_checkout(models.CheckoutRequest(course_id=paid["id"], provider="stripe"))
        harness.pay(str(checkout.redirect_url))
        eventually(lambda: client.get_own_access(paid["id"]).access, "access to the purchased course")
        assert client.get_order(str(checkout.order_id)).status == "paid"
        assert paid["id"] in {each.course_id for each in client.list_own_enrollments(limit=1)}


def test_author_changes_course_with_if_match(harness: ScenarioHarness):
    with client_of(person_with_permissions(harness.platform, "courses:write")) as client:
        free = models.Money(amount_minor=0, currency="EUR")
        fields = models.CourseFields(title="Knots", category="sailing", level="beginner", language="en", price=free)
        course = client.create_course(fields)
        changed = client.update_course(course.slug, models.CourseChanges(summary="Ten knots."), if_match=course)
        assert (changed.summary, changed.title, changed.version) == ("Ten knots.", "Knots", course.version + 1)
        with pytest.raises(errors.PreconditionFailed):
            client.update_course(course.slug, models.CourseChanges(summary="Nine knots."), if_match=course)
        with pytest.raises(errors.ValidationFailed) as refused:
            client.update_course(course.slug, models.CourseChanges(title=" "), if_match=changed)
        assert [each["pointer"] for each in refused.value.errors] == ["/title"]


def test_integrator_follows_events(stack: Platform):
    with client_of(person_with_permissions(stack, "ops:admin")) as client:
        before = max((int(event.position) for event in client.events()), default=0)
        user_id = stack.person().get("/v1/me").json()["id"]

        def created() -> list[models.UserCreatedEvent]:
            found = client.events(after=str(before), types=["USER_CREATED"])
            return [event for event in found if event.data.user_id == user_id]

        [event] = eventually(created, "the event")
        assert event.id not in {each.id for each in client.events(after=event.position)}


def test_async_client_waits_for_data_export(stack: Platform):
    async def export() -> models.Export:
        person = stack.person()
        async with AsyncCoursebus(person.url, token=person.token) as client:
            profile = await client.get_profile()
            operation = await client.request_data_export()
            await client.wait(operation, timeout=60, every=0.2)
            exported = await client.get_data_export()
            assert profile.id in str(exported.services)
            assert [each async for each in client.list_own_orders()] == []
            return exported

    assert asyncio.run(export()).finished_at


def test_code_of_readme_runs(stack: Platform, capsys: pytest.CaptureFixture[str]):
    readme = (ROOT / "clients/python/README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)

    for block in blocks:
        code = block.replace("http://127.0.0.1:8000", stack.url).replace("http://127.0.0.1:8010", stack.auth0)
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102 the code of this repository

    assert len(blocks) == 5
    assert "Statistics" in capsys.readouterr().out
