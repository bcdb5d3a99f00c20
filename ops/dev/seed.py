"""Add demo courses, plans, bundles and coupons: ``python -m ops.dev.seed``. A second run changes nothing.

The courses are written through the commands of their authors, so that COURSE_PUBLISHED brings them to all services.
"""

from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.db import session_factory, utc_now
from models.commands.courses import CourseFields, LessonFields
from models.courses.course import Course
from models.courses.transliteration import slug_of
from models.payments import Bundle, Coupon, Plan
from ops.dev.demo import catalogue, sub_of
from workers.courses.authoring import publish
from workers.users.profiles import get_or_create_user

_FIELDS = ("title", "summary", "description", "category", "level", "language", "tags", "price")


def seed() -> int:
    """Add the missing courses, plans, bundles and coupons. Return the number of courses added."""
    texts = catalogue()
    instructors = {name: _user_id(**person) for name, person in texts["instructors"].items()}
    with session_factory("courses").begin() as session:
        # A second concurrent run waits here and then finds nothing left to do.
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext("coursebus seed"))))
        known = set(session.scalars(select(Course.id)))
        missing = [text for text in texts["courses"] if id_of(slug_of(text["title"])) not in known]
        for text in missing:
            _create_course(session, text, instructor_id=instructors[text["instructor"]])
    _seed_plans(texts["plans"])
    _seed_bundles(texts["bundles"])
    _seed_coupons(texts["coupons"])
    return len(missing)


def _seed_plans(plans: list[dict[str, Any]]) -> None:
    """Add the missing plans."""
    with session_factory("payments").begin() as session:
        for text in plans:
            plan_id = id_of("plan", slug_of(text["name"]))
            if session.get(Plan, plan_id) is None:
                course_ids = [str(id_of(slug_of(title))) for title in text["courses"]]
                fields = {"name": text["name"], "interval": text["interval"], "trial_days": text["trial_days"]}
                session.add(Plan.create(id=plan_id, course_ids=course_ids, at=utc_now(), **fields, **text["price"]))


def _seed_bundles(bundles: list[dict[str, Any]]) -> None:
    """Add the missing bundles."""
    with session_factory("payments").begin() as session:
        for text in bundles:
            bundle_id = id_of("bundle", slug_of(text["title"]))
            if session.get(Bundle, bundle_id) is None:
                course_ids = [str(id_of(slug_of(title))) for title in text["courses"]]
                bundle = Bundle.create(
                    {"title": text["title"], "course_ids": course_ids, **text["price"]}, at=utc_now()
                )
                bundle.id = bundle_id
                session.add(bundle)


def _seed_coupons(coupons: list[dict[str, Any]]) -> None:
    """Add the missing coupons."""
    with session_factory("payments").begin() as session:
        known = set(session.scalars(select(Coupon.code)))
        for text in coupons:
            if text["code"] not in known:
                Coupon.create(session, text, at=utc_now())


def _user_id(email: str, name: str) -> UUID:
    with session_factory("users").begin() as session:
        found = get_or_create_user(
            session,
            lambda _key, _stored: None,  # the cache may be empty; the user's first request fills it
            sub=sub_of(email),
            email=email,
            name=name,
            roles=["instructor"],  # as in the token
        )
    assert isinstance(found["user_id"], UUID)
    return found["user_id"]


def id_of(*path: str) -> UUID:
    # The same ids in every database, so that examples can be copied.
    return uuid5(NAMESPACE_URL, "/".join(("https://coursebus.dev/demo", *path)))


def _create_course(session: Session, text: dict[str, Any], *, instructor_id: UUID) -> None:
    slug = slug_of(text["title"])
    fields: CourseFields = {name: text[name] for name in _FIELDS}  # type: ignore[assignment]  # texts have no types
    fields["sequential"] = text.get("sequential", False)
    course = Course.create(fields, id=id_of(slug), slug=slug, instructor_id=instructor_id, at=utc_now())
    session.add(course)
    record(session, course, course.created_event())
    for planned in text["sections"]:
        section = course.add_section(planned["title"])
        section.id = id_of(slug, f"section-{section.position}")
        for lesson_text in planned["lessons"]:
            lesson = course.add_lesson(section.id, _lesson(slug, lesson_text))
            lesson.id = id_of(slug, f"lesson-{section.position}-{lesson.position}")
    publish(session, course)


def _lesson(slug: str, text: dict[str, Any]) -> LessonFields:
    kind = text.get("kind", "video")
    return {
        "title": text["title"],
        "kind": kind,
        "content": _content(kind, slug, text),
        "duration_seconds": text["minutes"] * 60,
        "free_preview": text.get("free_preview", False),
    }


def _content(kind: str, slug: str, text: dict[str, Any]) -> dict[str, Any]:
    match kind:
        case "text":
            return {"body": text["body"]}
        case "quiz":
            return {name: text[name] for name in ("questions", "settings") if name in text}
        case _:
            return {"url": f"https://videos.coursebus.dev/{slug}/{slug_of(text['title'])}.mp4"}


if __name__ == "__main__":
    print(f"{seed()} courses added")
