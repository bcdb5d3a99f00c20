"""Learners who take a quiz over HTTP."""

from typing import Any
from uuid import uuid4

from tests.integration.courses.test_learner_courses import PublishedCourse
from tests.support.gateway import Person, gateway

SECRET = "Because the secret is 4217."
RIGHT = {"capital": ["Zanzibar City"], "count": ["42.17"], "moon": ["true"], "parts": ["b", "c"]}
QUESTIONS = [
    {"id": "capital", "kind": "short_text", "text": "Capital?", "correct": ["zanzibar city"], "multiple": False},
    {"id": "count", "kind": "numeric", "text": "How many?", "correct": ["42.17"], "tolerance": "0.009", "points": 2},
    {"id": "moon", "kind": "true_false", "text": "Is there a moon?", "correct": ["true"], "explanation": SECRET},
    {
        "id": "parts",
        "kind": "choice",
        "text": "Which?",
        "multiple": True,
        "partial_credit": True,
        "options": [{"id": each, "text": each} for each in "abcd"],
        "correct": ["b", "c"],
    },
]
# What must be in no answer before its time: the accepted text, the number, its tolerance, the explanation.
SECRETS = ("zanzibar", "42.17", "0.009", SECRET.lower(), '"correct"', '"result"')


def quiz(*questions: dict[str, Any], **settings: Any) -> dict[str, Any]:
    content = {"questions": [{"multiple": False, **each} for each in questions or QUESTIONS], "settings": settings}
    return {"kind": "quiz", "content": content, "completion": {"rule": "min_score", "min_score_percent": 60}}


class Taker:
    """A learner enrolled in a course with one quiz."""

    def __init__(self, course: PublishedCourse) -> None:
        self.course, self.person = course, Person(gateway().test_client(), sub=f"auth0|{uuid4().hex}")
        self.lesson = f"{course.path}/lessons/{course.lessons[-1]}"
        self.path = f"{self.lesson}/attempts"
        assert self.person.send("POST", f"{course.path}/enrollments").status_code == 201
        self.id = self.person.get("/v1/me").json["id"]

    def start(self) -> Any:
        return self.person.send("POST", f"{self.path}/start")

    def submit(self, attempt: int, **answers: list[str]) -> Any:
        return self.person.send("POST", f"{self.path}/{attempt}/submission", {"answers": answers})

    def save(self, attempt: int, **answers: list[str]) -> Any:
        return self.person.send("PUT", f"{self.path}/{attempt}/answers", {"answers": answers})

    def read(self, attempt: int) -> Any:
        return self.person.get(f"{self.path}/{attempt}").json

    def state(self) -> Any:
        return self.person.get(f"{self.lesson}/quiz").json


def take(**settings: Any) -> Taker:
    return Taker(PublishedCourse(quiz(**settings), lessons=0, sequential=False))
