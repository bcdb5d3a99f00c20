"""Cached pages of learners, which jobs invalidate after they have changed many learners."""

from uuid import UUID

from redis.exceptions import RedisError

from core.cache import invalidation_marker, progress_version_key, put_all
from core.log import get_logger

log = get_logger(__name__)


def invalidate_pages(user_ids: list[UUID]) -> None:
    """Invalidate the cached pages of learners. Without Redis they are read from the worker."""
    try:
        if user_ids:
            put_all([(progress_version_key(user_id), invalidation_marker()) for user_id in user_ids])
    except RedisError as error:
        log.warning("cache is unavailable", reason=str(error))
