"""When a request is repeated, and after how long."""

import random
from dataclasses import dataclass

import httpx

from .errors import retry_after

_NOT_EXECUTED = {429, 503}  # safe to repeat, whatever the request does
_OUTCOME_UNKNOWN = {502, 504}  # safe to repeat if a repetition has no second effect


@dataclass(frozen=True)
class Retries:
    """How often a request is repeated; ``Retries(0)`` never repeats.

    The delay doubles from ``first_delay`` to ``max_delay`` seconds, with jitter, and is at least ``Retry-After``. A
    request is not repeated if ``Retry-After`` exceeds ``max_delay``.
    """

    count: int = 4
    first_delay: float = 0.2
    max_delay: float = 30.0


class Attempts:
    """The attempts of one request. ``is_idempotent``: a repetition has no second effect."""

    def __init__(self, retries: Retries, *, is_idempotent: bool) -> None:
        self._retries = retries
        self._is_idempotent = is_idempotent
        self._made = 0

    def delay_after(self, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Return the seconds until the next attempt, or None if ``outcome`` is final."""
        self._made += 1
        if self._made > self._retries.count or not self._is_repeatable(outcome):
            return None
        backoff: float = min(self._retries.first_delay * 2 ** (self._made - 1), self._retries.max_delay)
        delay = backoff * random.uniform(0.5, 1)
        if isinstance(outcome, httpx.Response) and (wanted := retry_after(outcome)) is not None:
            if wanted > self._retries.max_delay:
                return None
            delay = max(delay, wanted)
        return delay

    def _is_repeatable(self, outcome: httpx.Response | httpx.TransportError) -> bool:
        if isinstance(outcome, httpx.Response):
            # A conflict with Retry-After: the first attempt with this idempotency key is still running.
            is_waiting = outcome.status_code == httpx.codes.CONFLICT and retry_after(outcome) is not None
            is_unknown = outcome.status_code in _OUTCOME_UNKNOWN and self._is_idempotent
            return outcome.status_code in _NOT_EXECUTED or is_waiting or is_unknown
        return self._is_idempotent or isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout)
