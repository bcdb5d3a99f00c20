"""Python client of Coursebus.

``Coursebus`` is synchronous, ``AsyncCoursebus`` asynchronous; both have a method for each operation of the API. Types
of requests and responses are in ``coursebus.models``, errors in ``coursebus.errors``.
"""

from . import errors, models, webhooks
from ._client import AsyncCoursebus, Coursebus
from ._retries import Retries
from .events import UnknownEvent

__all__ = ["AsyncCoursebus", "Coursebus", "Retries", "UnknownEvent", "errors", "models", "webhooks"]
