"""Questions of quizzes: which are asked, what learners see of them, and how answers are graded."""

from random import Random
from typing import Any
from uuid import uuid4

import pytest

from models.courses.quiz_content import Quiz, list_content_errors, without_answers
from models.errors import InvalidAnswers

SECRETS = {"correct", "tolerance", "explanation", "pool", "hint_of_a_later_version"}


def choice(name: str, *correct: str, **fields: Any) -> dict[str, Any]:
    options = [{"id": each, "text": each.upper(), "feedback": "secret"} for each in "abcd"]
    several = len(correct) > 1
    return {"id": name, "text": "?", "options": options, "multiple": several, "correct": list(correct), **fields}


def question(name: str, kind: str, *correct: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "kind": kind, "text": "?", "multiple": False, "correct": list(correct), **fields}


def lesson(*questions: dict[str, Any], **settings: Any) -> dict[str, Any]:
    content = {"questions": list(questions), **({"settings": settings} if settings else {})}
    return {"id": str(uuid4()), "kind": "quiz", "content": content, "completion": {"rule": "manual"}}


def points(asked: dict[str, Any], *given: str) -> float:
    quiz = Quiz(lesson(asked))
    return quiz.grade(quiz.draw(Random(1)), {asked["id"]: list(given)}).rounded()[asked["id"]]


@pytest.mark.parametrize(
    ("asked", "given", "expected"),
    [
        (choice("q", "a"), ["a"], 1),
        (choice("q", "a"), ["a", "b"], 0),
        (choice("q", "a", "b"), ["b"], 0),
        (choice("q", "a", "b", points=3), ["b", "a"], 3),
        (choice("q", "a", "b", partial_credit=True, points=2), ["a"], 1),
        (choice("q", "a", "b", partial_credit=True, points=2), ["a", "b", "c"], 1),
        (choice("q", "a", "b", partial_credit=True), ["a", "b", "c", "d"], 0),
        (choice("q", "a", "b", "c", partial_credit=True), ["a"], 0.3333),
        (question("q", "true_false", "true"), ["true"], 1),
        (question("q", "true_false", "true"), ["false"], 0),
        (question("q", "true_false", "true"), ["true", "false"], 0),
        (question("q", "short_text", "Saint Petersburg"), ["  saint   PETERSBURG "], 1),
        (question("q", "short_text", "café"), ["cafe\u0301"], 1),
        (question("q", "short_text", "straße"), ["STRASSE"], 1),
        (question("q", "short_text", "ﬁve", "5"), ["FIVE"], 1),
        (question("q", "short_text", "five", "5"), ["5"], 1),
        (question("q", "short_text", "five"), ["four"], 0),
        (question("q", "short_text", "five"), [""], 0),
        (question("q", "numeric", "3.14", tolerance="0.01"), ["3,15"], 1),
        (question("q", "numeric", "3.14", tolerance="0.01"), ["3.1500001"], 0),
        (question("q", "numeric", "0.3"), ["0.30"], 1),
        (question("q", "numeric", "0.3", tolerance="0.1"), ["0.4"], 1),
        (question("q", "numeric", "-1000"), ["−1 000"], 1),  # noqa: RUF001 a minus sign as in texts
        (question("q", "numeric", "1"), ["nan"], 0),
        (question("q", "numeric", "1"), ["1e99999999999"], 0),
        (question("q", "numeric", "1"), ["1e999"], 0),
        (question("q", "numeric", "1500"), ["1.5e3"], 1),
        (question("q", "numeric", "1"), ["one"], 0),
        (question("q", "numeric", "1"), [], 0),
    ],
)
def test_answer_earns_points(asked, given, expected):
    assert points(asked, *given) == expected


def test_score_is_the_share_of_points_rounded_down():
    quiz = Quiz(lesson(choice("one", "a", points=2), choice("two", "b")))
    result = quiz.grade(quiz.draw(Random(1)), {"one": ["a"]})

    assert (result.score_percent, result.points_earned, result.points_total) == (66, 2, 3)


def test_score_of_thirds_is_exact():
    thirds = [choice(f"q{number}", "a", "b", "c", partial_credit=True) for number in range(3)]
    quiz = Quiz(lesson(*thirds))

    assert quiz.grade(quiz.draw(Random(1)), {each["id"]: ["a", "b", "c"] for each in thirds}).score_percent == 100
    assert quiz.grade(quiz.draw(Random(1)), {each["id"]: ["a"] for each in thirds}).points_earned == 1


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (choice("q", "a"), {"q": ["e"]}),
        (choice("q", "a"), {"other": ["a"]}),
        (question("q", "true_false", "true"), {"q": ["yes"]}),
        (question("q", "short_text", "five"), {"q": ["five", "four"]}),
        (question("q", "numeric", "5"), {"q": ["4", "5"]}),
    ],
)
def test_answer_of_another_form_is_refused_without_a_hint(asked, given):
    quiz = Quiz(lesson(asked))
    with pytest.raises(InvalidAnswers) as refused:
        quiz.grade(quiz.draw(Random(1)), given)

    sent = {*given, *(each for answers in given.values() for each in answers)}
    assert set(refused.value.args) <= sent


def test_answer_to_a_question_that_was_not_drawn_is_refused():
    quiz = Quiz(lesson(*(choice(each, "a", pool="p") for each in ("one", "two")), pools=[{"id": "p", "draw": 1}]))
    layout = quiz.draw(Random(1))
    [other] = {"one", "two"} - {each.id for each in layout}

    with pytest.raises(InvalidAnswers):
        quiz.grade(layout, {other: ["a"]})


def test_pools_and_shuffling_are_drawn_for_each_attempt():
    fixed = choice("fixed", "a")
    pooled = [choice(f"p{number}", "a", pool="p") for number in range(6)]
    quiz = Quiz(lesson(fixed, *pooled, pools=[{"id": "p", "draw": 2}], shuffle_options=True, shuffle_questions=True))

    drawn = [quiz.draw(Random(number)) for number in range(40)]

    assert all(len(each) == 3 and "fixed" in {shown.id for shown in each} for each in drawn)
    assert {shown.id for each in drawn for shown in each} == {"fixed", *(each["id"] for each in pooled)}
    assert {[shown.id for shown in each].index("fixed") for each in drawn} == {0, 1, 2}
    assert all(sorted(shown.options) == list("abcd") for each in drawn for shown in each)
    assert len({shown.options for each in drawn for shown in each}) > 10
    assert quiz.draw(Random(1)) == quiz.draw(Random(1))
    assert quiz.count_drawn() == 3


def test_questions_are_shown_and_reviewed_in_the_order_of_the_attempt():
    quiz = Quiz(lesson(choice("one", "a", explanation="Because."), choice("two", "b"), shuffle_options=True))
    layout = quiz.draw(Random(3))

    shown, reviewed = quiz.show(layout), quiz.review(layout, {"one": 1.0})

    assert [[option["id"] for option in each["options"]] for each in shown] == [list(each.options) for each in layout]
    assert [{**each, "result": None} for each in reviewed] == [{**each, "result": None} for each in shown]
    assert reviewed[0]["result"] == {"points": 1.0, "correct": ["a"], "tolerance": None, "explanation": "Because."}
    assert reviewed[1]["result"]["points"] == 0


def names_in(value: Any) -> set[str]:
    """Return the names of all fields within a JSON value."""
    if isinstance(value, dict):
        return set(value) | {name for each in value.values() for name in names_in(each)}
    return {name for each in value for name in names_in(each)} if isinstance(value, list) else set()


@pytest.mark.parametrize("settings", [{}, {"show_answers": "after_attempt"}, {"attempts_max": 1}])
def test_learners_see_only_the_fields_that_are_meant_for_them(settings):
    secrets = dict.fromkeys(SECRETS - {"correct"}, "secret")
    whole = lesson(choice("one", "a", **secrets), question("two", "numeric", "5", **secrets), **settings)

    shown = without_answers(whole)["content"]

    assert not names_in(shown) & (SECRETS | {"feedback"})
    assert "secret" not in str(shown)


@pytest.mark.parametrize(
    "settings",
    [
        {"attempts_max": 1},
        {"time_limit_seconds": 60},
        {"shuffle_questions": True},
        {"shuffle_options": True},
        {"pools": [{"id": "p", "draw": 1}]},
    ],
)
def test_questions_with_limits_are_not_shown_outside_of_an_attempt(settings):
    content = without_answers(lesson(choice("one", "a", pool="p"), **settings))["content"]

    assert content["questions"] == []
    assert "pools" not in content["settings"]


def test_impossible_pools_are_reported():
    content = lesson(choice("one", "a", pool="p"), choice("two", "a", pool="q"), pools=[{"id": "p", "draw": 2}])

    assert list(list_content_errors(content["content"])) == [
        "No pool has the id q.",
        "The pool p has fewer than 2 questions.",
    ]
