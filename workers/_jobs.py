"""Tasks that time starts: beat pokes, the ``jobs`` table decides."""

from collections.abc import Callable
from typing import Any, TypeVar

from celery_app import SERVICES, celery_app
from models.base import now
from models.jobs import Job, slot_of

from ._delivery import Delivery
from ._tasks import Call, name_of, register

JobFunction = TypeVar("JobFunction", bound=Callable[..., None])

# A poke may be lost with Redis; the next one finds the slot still open.
_POKE_EVERY_SECONDS = 60


def job(*, every_seconds: int) -> Callable[[JobFunction], JobFunction]:
    """Run ``fn(resource, …)`` once in each period of ``every_seconds``, whatever dies meanwhile.

    A run that fails is repeated, five times at most; one that was killed at its end runs again: write it so that this
    does no harm.
    """

    def decorate(fn: JobFunction) -> JobFunction:
        _schedule(name_of(fn), fn, every_seconds)
        return fn

    return decorate


def job_of_every_service(*, every_seconds: int) -> Callable[[JobFunction], JobFunction]:
    """Run ``fn`` as a job of each service, in whose transactions it then runs."""

    def decorate(fn: JobFunction) -> JobFunction:
        for service in SERVICES:
            _schedule(f"{service}.{fn.__name__}", fn, every_seconds)
        return fn

    return decorate


def _schedule(name: str, fn: Callable[..., None], every_seconds: int) -> None:
    register(name, JobCall(fn, every_seconds))
    poke_every_seconds = min(every_seconds, _POKE_EVERY_SECONDS)
    celery_app.conf.beat_schedule[name] = {
        "task": name,
        "schedule": poke_every_seconds,
        "options": {"expires": poke_every_seconds},  # pokes for a worker that is down do not pile up
    }


class JobCall(Call):
    """A call that is made only by whoever claims the slot."""

    def __init__(self, fn: Callable[..., None], every_seconds: int) -> None:
        super().__init__(fn)
        self._every_seconds = every_seconds

    def perform(self, delivery: Delivery, message: dict[str, Any]) -> dict[str, Any]:
        with delivery.plain_transaction() as session:
            run = Job.claim(session, delivery.task, slot_of(now(), self._every_seconds))
        if run is None:
            return {"result": None}
        try:
            answer = super().perform(delivery, message)
        except Exception as error:
            with delivery.plain_transaction() as session:
                session.merge(run, load=False).fail(repr(error))
            raise
        with delivery.plain_transaction() as session:
            session.merge(run, load=False).finish()
        return answer
