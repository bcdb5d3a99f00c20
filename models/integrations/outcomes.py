"""Result of a webhook delivery attempt."""

from dataclasses import dataclass

_GONE = 410


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of an attempt: ``status_code`` is None without a response, ``error`` is None for 2xx."""

    status_code: int | None
    error: str | None  # timeout, refused, status_500 …: a code, never text of the receiver
    duration_ms: int
    retry_after_seconds: int | None = None

    @property
    def is_success(self) -> bool:
        return self.error is None

    @property
    def is_gone(self) -> bool:
        """Return whether the receiver answered 410 Gone: it wants no more webhooks."""
        return self.status_code == _GONE
