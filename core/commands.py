"""Base classes of commands: typed messages that the gateway, the bridge or another task sends to a task."""

import re
from typing import Any, ClassVar, dataclass_transform

import msgspec

from settings import SERVICES


class CommandType(msgspec.StructMeta):
    """Metaclass of commands: makes the class frozen and keyword-only, and registers it under the name of its task."""

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        service: str | None = None,
        **options: Any,
    ) -> Any:
        options = {"frozen": True, "kw_only": True, "omit_defaults": True, **options}
        cls: Any = super().__new__(mcs, name, bases, namespace, **options)
        verb = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        cls.task_name = f"{service}.{verb}" if service else verb
        if service:
            cls.by_task[cls.task_name] = cls
        elif any("service" in getattr(base, "__struct_fields__", ()) for base in bases):
            cls.by_task.update({f"{each}.{verb}": cls for each in SERVICES})
        return cls


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Command(msgspec.Struct, metaclass=CommandType, frozen=True):
    """The message of one task. ``class ShowCourse(Command, service="courses")`` is sent to ``courses.show_course``.

    Sender and worker may run different versions: the worker ignores unknown fields, and a new field needs a default.
    A field that equals its default is not sent.
    """

    task_name: ClassVar[str]  # without the service if every service has the task
    by_task: ClassVar[dict[str, type["Command"]]] = {}

    @property
    def task(self) -> str:
        """Return the name of the task, ``<service>.<verb>``."""
        return self.task_name


class ServiceCommand(Command):
    """A command whose task every service has; ``service`` says which of them executes it."""

    service: str

    @property
    def task(self) -> str:
        return f"{self.service}.{self.task_name}"
