"""``python -m bridge quarantine``: operators' commands for events that Kafka refuses permanently."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import suppress

from redis.exceptions import RedisError
from sqlalchemy.orm import Session

import settings
from core.bus.quarantine import QuarantinedEvent, discard, iter_quarantined, release
from core.db import session_factory, utc_now
from core.redis import RELAY_HINT, queue_redis
from models.errors import NotFound

Change = Callable[[Session, str, int], int]


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands list, release and discard."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="one line each, the oldest of each service first")
    listing.set_defaults(run=_list)

    releasing = commands.add_parser("release", help="publish again, with the later events of the same key")
    which = releasing.add_mutually_exclusive_group(required=True)
    which.add_argument("events", metavar="ID", nargs="*", default=[])
    which.add_argument("--all", action="store_true")
    releasing.set_defaults(run=_release)

    discarding = commands.add_parser("discard", help="never publish it, and release the events parked behind it")
    discarding.add_argument("event", metavar="ID")
    discarding.add_argument("--reason", required=True)
    discarding.set_defaults(run=_discard)


def _list(_args: argparse.Namespace) -> bool:
    for event in _iter_quarantined():
        age_minutes = (utc_now() - event.failed_at).total_seconds() / 60
        behind = f"{event.parked} parked"
        print("  ".join((event.id, event.event_type, event.key, f"{age_minutes:.0f} min", behind, event.reason)))
    return True


def _release(args: argparse.Namespace) -> bool:
    # A parked event is released together with the quarantined event that it waits for.
    names = dict.fromkeys([event.id for event in _iter_quarantined()] if args.all else args.events)
    outcomes = [_change(name, release, "released") for name in names]
    with suppress(RedisError):
        queue_redis().lpush(RELAY_HINT, 1)
    return all(outcomes) or args.all


def _discard(args: argparse.Namespace) -> bool:
    def drop(session: Session, service: str, seq: int) -> int:
        return discard(session, service, seq, reason=args.reason)

    return _change(args.event, drop, "discarded; released")


def _change(name: str, change: Change, word: str) -> bool:
    service, _, seq = name.partition("-")
    try:
        with session_factory(service if service in settings.SERVICES else settings.SERVICES[0]).begin() as session:
            count = change(session, service, int(seq) if seq.isdecimal() else 0)
    except NotFound as error:
        print(error)
        return False
    print(f"{name}: {word} {count} events")
    return True


def _iter_quarantined() -> Iterator[QuarantinedEvent]:
    for service in settings.SERVICES:
        with session_factory(service).begin() as session:
            events = list(iter_quarantined(session, service))
        yield from events
