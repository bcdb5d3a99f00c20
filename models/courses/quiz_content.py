"""The content of a quiz: its questions and rules, what an attempt shows of them, and how answers are graded."""

import random
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Self

from models.errors import InvalidAnswers, LessonIsNotAQuiz

Answers = Mapping[str, list[str]]  # by question id: ids of the chosen options, or one text or number

_PERFECT_SCORE_PERCENT = 100
_TRUE_FALSE = frozenset({"true", "false"})
# Limited, because Decimal raises for an exponent that is too large. It also takes digits of other scripts and "nan".
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_POINTS_DIGITS = 4
_MINUS_SIGNS = str.maketrans({"−": "-", "–": "-", ",": "."})  # noqa: RUF001 signs that keyboards and texts insert

# The only fields of a question that learners see before it is graded. The list names what is shown and not what is
# hidden: a new field of authors stays hidden until it is added here.
_SHOWN = ("id", "kind", "text", "options", "multiple", "partial_credit", "points")


@dataclass(frozen=True)
class ShownQuestion:
    """A question of an attempt, with the ids of its options in the order in which the learner sees them."""

    id: str
    options: tuple[str, ...] = ()

    @classmethod
    def from_list(cls, layout: Iterable[Mapping[str, Any]]) -> list[Self]:
        return [cls(each["id"], tuple(each.get("options", ()))) for each in layout]

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "options": list(self.options)}


Layout = Sequence[ShownQuestion]


@dataclass(frozen=True)
class Result:
    """The points of each question of an attempt."""

    points: Mapping[str, Fraction]
    points_total: int

    @property
    def points_earned(self) -> Fraction:
        return sum(self.points.values(), Fraction(0))

    @property
    def score_percent(self) -> int:
        """Return the score, rounded down, so that 100 means that every answer is correct."""
        return int(_PERFECT_SCORE_PERCENT * self.points_earned / self.points_total)

    def rounded(self) -> dict[str, float]:
        """Return the points by question, as they are stored and shown."""
        return {question_id: round_points(points) for question_id, points in self.points.items()}


class Quiz:
    """The quiz of a lesson, as it was published or as its author has changed it since."""

    def __init__(self, lesson: Mapping[str, Any]) -> None:
        """Raises LessonIsNotAQuiz."""
        found = lesson["content"].get("questions", [])
        if not found:
            raise LessonIsNotAQuiz(str(lesson["id"]))
        self.questions: dict[str, dict[str, Any]] = {each["id"]: {"kind": "choice", **each} for each in found}
        self.settings: Mapping[str, Any] = lesson["content"].get("settings") or {}
        self.pass_percent: int = lesson["completion"].get("min_score_percent", _PERFECT_SCORE_PERCENT)

    @property
    def attempts_max(self) -> int | None:
        return self.settings.get("attempts_max")

    @property
    def time_limit_seconds(self) -> int | None:
        return self.settings.get("time_limit_seconds")

    @property
    def show_answers(self) -> str:
        """Return when correct answers are shown: never, after_attempt, after_passing, after_last_attempt."""
        policy: str = self.settings.get("show_answers", "never")
        return policy

    @property
    def must_be_started(self) -> bool:
        """Return whether learners see the questions only in an attempt that they have started."""
        return bool(
            self.attempts_max
            or self.time_limit_seconds
            or self.settings.get("shuffle_questions")
            or self.settings.get("shuffle_options")
            or self.settings.get("pools")
        )

    def draw(self, source: random.Random) -> list[ShownQuestion]:
        """Draw the questions of an attempt: all without a pool and some of each pool, shuffled if the author wants it.

        The caller stores the result, so that grading and review see what the learner saw.
        """
        drawn = list(self._drawn_ids(source))
        if self.settings.get("shuffle_questions"):
            source.shuffle(drawn)
        return [ShownQuestion(each, tuple(self._options(each, source))) for each in drawn]

    def _drawn_ids(self, source: random.Random) -> Iterator[str]:
        """Return the ids of the drawn questions in the order of the content."""
        chosen: set[str] = set()
        for pool in self.settings.get("pools") or []:
            members = [each["id"] for each in self.questions.values() if each.get("pool") == pool["id"]]
            chosen.update(source.sample(members, min(pool["draw"], len(members))))
        for question_id, question in self.questions.items():
            if question.get("pool") is None or question_id in chosen:
                yield question_id

    def count_drawn(self) -> int:
        """Return the number of questions of an attempt."""
        return len(self.draw(random.Random(0)))

    def _options(self, question_id: str, source: random.Random) -> list[str]:
        options = [option["id"] for option in self.questions[question_id].get("options", [])]
        if self.settings.get("shuffle_options"):
            source.shuffle(options)
        return options

    def require_answers(self, layout: Layout, answers: Answers) -> None:
        """Raise InvalidAnswers unless all answers are to questions of the attempt and of the form that these take."""
        shown = {each.id for each in layout}
        for question_id, given in answers.items():
            if question_id not in shown:
                raise InvalidAnswers(question_id)
            _require_form(self.questions[question_id], given)

    def grade(self, layout: Layout, answers: Answers) -> Result:
        """Return the points of each question. Raises InvalidAnswers."""
        self.require_answers(layout, answers)
        asked = [self.questions[each.id] for each in layout]
        return Result(
            {each["id"]: _credit(each, answers.get(each["id"], [])) * each.get("points", 1) for each in asked},
            sum(each.get("points", 1) for each in asked),
        )

    def points_total(self, layout: Layout) -> int:
        return sum(self.questions[each.id].get("points", 1) for each in layout)

    def show(self, layout: Layout) -> list[dict[str, Any]]:
        """Return the questions of an attempt as the learner sees them before grading."""
        return [_shown_question(self.questions[each.id], each.options) for each in layout]

    def review(self, layout: Layout, points: Mapping[str, float]) -> list[dict[str, Any]]:
        """Return the questions of a graded attempt with their points, correct answers and explanations."""
        return [
            {
                **shown,
                "result": {
                    "points": points.get(shown["id"], 0),
                    "correct": question["correct"],
                    "tolerance": question.get("tolerance"),
                    "explanation": question.get("explanation") or None,
                },
            }
            for shown in self.show(layout)
            for question in [self.questions[shown["id"]]]
        ]

    def public_content(self) -> dict[str, Any]:
        """Return the content of the lesson for learners: no questions if an attempt must be started to see them."""
        whole = [ShownQuestion(each, tuple(_option_ids(question))) for each, question in self.questions.items()]
        shown = [] if self.must_be_started else self.show(whole)
        content: dict[str, Any] = {"questions": shown}
        if self.settings:
            content["settings"] = {name: value for name, value in self.settings.items() if name != "pools"}
        return content


def without_answers(lesson: dict[str, Any]) -> dict[str, Any]:
    """Return a lesson as learners see it: without the fields that reveal the answers of a quiz."""
    if lesson["kind"] != "quiz":
        return lesson
    return {**lesson, "content": Quiz(lesson).public_content()}


def list_content_errors(content: Mapping[str, Any]) -> Iterator[str]:
    """Return what makes a quiz impossible to take: pools without enough questions, questions of unknown pools."""
    pools = {pool["id"]: pool["draw"] for pool in (content.get("settings") or {}).get("pools") or []}
    used = [question["pool"] for question in content.get("questions", []) if question.get("pool")]
    for pool in sorted(set(used) - set(pools)):
        yield f"No pool has the id {pool}."
    for pool, draw in pools.items():
        if used.count(pool) < draw:
            yield f"The pool {pool} has fewer than {draw} questions."


def round_points(points: Fraction) -> float:
    return round(float(points), _POINTS_DIGITS)


def parse_number(text: str) -> Decimal | None:
    """Return the number of an answer, written with a point or a comma; None if the text is no number."""
    compact = "".join(text.split()).translate(_MINUS_SIGNS)
    return Decimal(compact) if _NUMBER.fullmatch(compact) else None


def normalize_text(text: str) -> str:
    """Return a text as answers are compared: one form of Unicode, without case and repeated spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def _option_ids(question: Mapping[str, Any]) -> list[str]:
    return [option["id"] for option in question.get("options", [])]


def _shown_question(question: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    shown = {name: question[name] for name in _SHOWN if name in question}
    if "options" in shown:
        by_id = {option["id"]: option for option in question["options"]}
        # Only these two: an option may have fields of authors, too.
        shown["options"] = [{"id": each, "text": by_id[each]["text"]} for each in order]
    return {"points": 1, **shown}


def _require_form(question: Mapping[str, Any], given: list[str]) -> None:
    """Raise InvalidAnswers for an option that does not exist, and for several texts or numbers."""
    match question["kind"]:
        case "choice":
            allowed = set(_option_ids(question))
        case "true_false":
            allowed = set(_TRUE_FALSE)
        case _:
            if len(given) > 1:
                raise InvalidAnswers(question["id"])
            return
    for unknown in sorted(set(given) - allowed):
        raise InvalidAnswers(unknown)


def _credit(question: Mapping[str, Any], given: list[str]) -> Fraction:
    """Return the earned share of a question's points: 0 to 1."""
    correct = question["correct"]
    match question["kind"]:
        case "short_text":
            accepted = {normalize_text(each) for each in correct}
            return Fraction(any(normalize_text(each) in accepted for each in given))
        case "numeric":
            return Fraction(any(_is_close(each, correct[0], question.get("tolerance")) for each in given))
        case "choice" if question.get("partial_credit") and question.get("multiple"):
            # As in Canvas: a wrong choice takes back what a correct one gives, so choosing everything earns nothing.
            right = len(set(given) & set(correct)) - len(set(given) - set(correct))
            return Fraction(max(0, right), len(set(correct)))
        case _:
            return Fraction(set(given) == set(correct))


def _is_close(given: str, correct: str, tolerance: str | None) -> bool:
    number, expected = parse_number(given), parse_number(correct)
    if number is None or expected is None:
        return False
    return abs(number - expected) <= Decimal(tolerance or 0)
