"""Forms that show refused values again, and both versions when another person has saved the same field.

Each field has a mark: a hash of the value that the page was loaded with. It shows who changed a field since. A field
that only the other person changed takes their value, a field that only this person changed is saved, and of a field
that both changed the page shows both values.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coursebus import errors
from flask import flash, request

from web.errors import message_of
from web.language import _

_TRIES = 5
_REFUSALS = (errors.ValidationFailed, errors.Conflict, errors.BadRequest)


@dataclass(frozen=True)
class Current:
    """What is stored now: the version for If-Match, the values of the fields, and the object they come from."""

    version: int
    values: Mapping[str, str]
    source: Any = None


@dataclass
class Form:
    """The values of the fields by name; an unchecked box is an empty text."""

    values: dict[str, str]
    marks: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    theirs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, str]) -> "Form":
        """Return the form of a page that is loaded."""
        return cls(dict(values), {name: mark_of(value) for name, value in values.items()})

    @classmethod
    def posted(cls, names: Iterable[str]) -> "Form":
        """Return the form that was sent. A value of the other person replaces a field whose box for that is checked."""
        form = cls({})
        for name in names:
            source = f"theirs-{name}" if f"take-{name}" in request.form else name
            form.values[name] = request.form.get(source, "").replace("\r\n", "\n").strip()
            form.marks[name] = request.form.get(f"was-{name}", "")
        return form

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")

    def merge(self, current: Mapping[str, str]) -> bool:
        """Take over what others have saved since the page was loaded; return False if a field has two new values."""
        self.theirs = {}
        for name in {*self.values, *current}:
            mine, theirs, before = self[name], current.get(name, ""), self.marks.get(name, mark_of(""))
            if mine == theirs or mark_of(theirs) == before:
                continue
            if mark_of(mine) == before:
                self.values[name] = theirs
            else:
                self.theirs[name] = theirs
        self.marks = {name: mark_of(current.get(name, "")) for name in {*self.values, *current}}
        return not self.theirs

    def refuse(self, error: errors.ApiError, fields: Mapping[str, str]) -> None:
        """Show an error of the API at its fields. ``fields`` names them by the beginning of a pointer, or by code."""
        if error.code in fields:
            self.problems[fields[error.code]] = message_of(error)
            return
        unplaced = []
        for each in error.errors:
            place = each.get("pointer") or ""
            known = [prefix for prefix in fields if place.startswith(prefix)]
            name = fields[max(known, key=len)] if known else place.split("/")[1] if "/" in place else ""
            if name in self.values:
                self.problems[name] = each["detail"]
            else:
                unplaced.append(f"{place.lstrip('/')}: {each['detail']}")
        if unplaced or not error.errors:
            flash(" ".join(unplaced) or message_of(error), "problem")


def mark_of(value: str) -> str:
    """Return the mark of a value, by which the server sees whether it has changed since."""
    return hashlib.sha256(value.encode()).hexdigest()[:12]


def save(
    form: Form,
    read: Callable[[], Current],
    write: Callable[[Current], object],
    fields: Mapping[str, str] | None = None,
) -> bool:
    """Write the form over what is stored. Return False if the page must be shown again: with errors or both values.

    ``write`` sends the version of what ``read`` has returned as If-Match, so a change between both is read again.
    """
    for _try in range(_TRIES):
        current = read()
        if not form.merge(current.values):
            flash(
                _("Another instructor has changed the same fields. Both values are shown: choose, then save again."),
                "problem",
            )
            return False
        try:
            write(current)
        except errors.PreconditionFailed:
            continue
        except _REFUSALS as refusal:
            form.refuse(refusal, fields or {})
            return False
        return True
    flash(_("Another instructor is changing the course. Please save again."), "problem")
    return False
