"""Errors of servers that cannot be reached, as one line for the operator."""

from confluent_kafka import KafkaError, KafkaException
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from sqlalchemy.exc import OperationalError, SQLAlchemyError

import settings
from core.log import scrub

SERVER_ERRORS = (SQLAlchemyError, RedisError, KafkaException)
_NO_BROKER = {
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 the codes of librdkafka have no public names
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
}


def unreachable(error: Exception) -> str | None:
    """Return which server cannot be reached or refused the login, why, and its setting; None for other errors."""
    if isinstance(error, OperationalError) and (error.connection_invalidated or not error.statement):
        names = "DATABASE_URL, or <SERVICE>_DATABASE_URL for one service,"
        return _line("PostgreSQL", str(error.orig), names)
    if isinstance(error, KafkaException) and error.args[0].code() == KafkaError._AUTHENTICATION:  # noqa: SLF001
        reason = scrub(error.args[0].str()).rstrip(".")
        return f"Kafka refused the login ({reason}). It is set by KAFKA_USERNAME and KAFKA_PASSWORD."
    if isinstance(error, KafkaException) and error.args[0].code() in _NO_BROKER:
        reason = f"{settings.KAFKA_BOOTSTRAP_SERVERS}: {error.args[0].str()}"
        return _line("Kafka", reason, "KAFKA_BOOTSTRAP_SERVERS")
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        return _line("Redis", str(error), "REDIS_URL")
    return None


def _line(server: str, reason: str, names: str) -> str:
    reason = scrub(" ".join(reason.split())).rstrip(".")
    return f"{server} cannot be reached ({reason}). Its address is set by {names}."
