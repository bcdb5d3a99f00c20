"""The rules of a quiz in the form of its lesson: limits, order, and the pools from which questions are drawn."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from coursebus import models

from .forms import Form

QUIZ_NAMES: dict[str, tuple[str, ...]] = {
    "numbers": ("attempts_max",),
    "texts": ("time_limit", "show_answers", "pools"),
    "boxes": ("shuffle_questions", "shuffle_options"),
}
QUIZ_PLACES = {
    "/content/questions": "pools",
    "/content/settings": "pools",
    "/content/settings/attempts_max": "attempts_max",
    "/content/settings/time_limit_seconds": "time_limit",
    "/content/settings/show_answers": "show_answers",
}


def quiz_names(lesson: models.Lesson) -> Iterable[str]:
    """Return the names of the fields of a quiz; each question has one for its pool."""
    pools = (f"pool-{each.id}" for each in lesson.content.questions or [])
    return (*QUIZ_NAMES["numbers"], *QUIZ_NAMES["texts"], *QUIZ_NAMES["boxes"], *pools)


def quiz_values(content: dict[str, Any]) -> dict[str, str]:
    """Return the values of the fields of a quiz."""
    settings = content.get("settings") or {}
    limit = settings.get("time_limit_seconds")
    values = {
        "attempts_max": str(settings.get("attempts_max") or ""),
        "time_limit": f"{limit // 60}:{limit % 60:02d}" if limit else "",
        "show_answers": settings.get("show_answers", "never"),
        "pools": "\n".join(f"{each['id']}: {each['draw']}" for each in settings.get("pools") or []),
    }
    boxes = {name: "on" if settings.get(name) else "" for name in QUIZ_NAMES["boxes"]}
    pools = {f"pool-{each['id']}": each.get("pool", "") for each in content.get("questions", [])}
    return {**values, **boxes, **pools}


def quiz_content(form: Form, content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a quiz with the rules of the form and the questions that are stored."""
    questions = []
    for each in content["questions"]:
        question = {name: value for name, value in each.items() if name != "pool"}
        if pool := form[f"pool-{each['id']}"]:
            question["pool"] = pool
        questions.append(question)
    minutes, _colon, seconds = form["time_limit"].partition(":")
    settings: dict[str, Any] = {
        "attempts_max": int(form["attempts_max"]) if form["attempts_max"] else None,
        "time_limit_seconds": int(minutes) * 60 + int(seconds or 0) if minutes else None,
        "show_answers": form["show_answers"] or "never",
        **{name: bool(form[name]) for name in QUIZ_NAMES["boxes"]},
    }
    if pools := _pools(form["pools"], questions):
        settings["pools"] = pools
    return {"questions": questions, "settings": settings}


def _pools(text: str, questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the pools that questions name, each with the number that the text gives it, or one."""
    numbers = {}
    for line in text.splitlines():
        name, _colon, number = line.partition(":")
        numbers[name.strip()] = int(number) if number.strip().isdecimal() else 1
    used = dict.fromkeys(each["pool"] for each in questions if "pool" in each)
    return [{"id": name, "draw": numbers.get(name, 1)} for name in used]


def fit_pools(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a quiz whose pools draw no more questions than are left in them."""
    left = Counter(each.get("pool") for each in content["questions"])
    settings = dict(content.get("settings") or {})
    if "pools" in settings:
        pools = [{"id": each["id"], "draw": min(each["draw"], left[each["id"]])} for each in settings["pools"]]
        settings["pools"] = [each for each in pools if each["draw"]]
    return {**content, "settings": settings} if settings else content
