"""How an attempt to reach a receiver ended."""

from dataclasses import dataclass

_GONE = 410


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``status_code`` is None where no answer came; ``error`` then says why, and is None for every 2xx."""

    status_code: int | None
    error: str | None  # timeout, refused, status_500 …: a code, never what the receiver said
    duration_ms: int
    retry_after_seconds: int | None = None

    @property
    def is_good(self) -> bool:
        return self.error is None

    @property
    def is_farewell(self) -> bool:
        """Whether the receiver wants to hear nothing any more."""
        return self.status_code == _GONE
