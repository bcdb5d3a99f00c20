"""``python -m bridge dead-letters|quarantine|replay|topics|lag|rebuild|jobs``: operators' commands for events."""

import argparse
import json
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from confluent_kafka import KafkaException

import settings
from core.bus.dead_letters import DeadLetter, dead_letter_id
from core.bus.kafka_topics import KafkaTopic
from core.db import session_factory, utc_now
from core.messaging.rpc import TaskCrashed
from models.errors import DomainError
from models.events.routes import ROUTES

from . import kafka
from .admin import dead_letters, jobs, quarantine_cli
from .admin.lag import consumer_lag
from .admin.rebuild import ProjectionNotFound, rebuild
from .admin.replay import redeliver_to_handler
from .consumer.dead_letter_store import DeadLetters
from .consumer.dispatch import Dispatcher
from .consumer.service_consumer import ServiceConsumer
from .publisher.refill import has_older_events, request_refill
from .reaching import SERVER_ERRORS, unreachable
from .topics import Topics, all_topics

HANDLERS = sorted({handler for handlers in ROUTES.values() for handler in handlers})


def main(arguments: list[str]) -> int:
    """Run one command; return the exit status: 0, or 1 if the command failed or left something undone."""
    args = build_parser().parse_args(arguments)
    try:
        done: bool = args.run(args)
    except dead_letters.DeadLetterNotFound as error:
        print(f"There is no dead letter {error}.")
        return 1
    except jobs.SlotNotGivenUp as error:
        print(f"There is no given-up slot {error}; python -m bridge jobs list shows them.")
        return 1
    except ProjectionNotFound as error:
        print(f"There is no projection {error}.")
        return 1
    except SERVER_ERRORS as error:
        line = unreachable(error) or (str(error) if isinstance(error, KafkaException) else None)
        if line is None:
            raise
        print(line, file=sys.stderr)
        return 1
    except (DomainError, TaskCrashed) as error:
        print(error)
        return 1
    return 0 if done else 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bridge", description="Without arguments it runs the bridge.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_dead_letters(commands.add_parser("dead-letters", help="events that a handler could not process"))

    quarantine_cli.add_commands(commands.add_parser("quarantine", help="events that Kafka refuses permanently"))

    replay = commands.add_parser("replay", help="publish or redeliver past events again")
    replay.add_argument("status", nargs="?", choices=["status"], help="show the progress of the topic refills")
    replay.add_argument(
        "--since", type=_parse_datetime, help="recorded at or after this time (ISO 8601; default time zone UTC)"
    )
    replay.add_argument("--topic", choices=settings.SERVICES, help="published by this service")
    replay.add_argument(
        "--handler", choices=HANDLERS, metavar="HANDLER", help="redeliver to this handler only, without Kafka"
    )
    replay.set_defaults(run=_replay, parser=replay)

    topics = commands.add_parser("topics", help="list every topic with its configuration, and whether it exists")
    topics.set_defaults(run=_topics)

    lag = commands.add_parser("lag", help="show the lag of each consumer group")
    lag.set_defaults(run=_lag)

    again = commands.add_parser("rebuild", help="rebuild a projection from events")
    again.add_argument("projection", help="for example payments.offers")
    again.set_defaults(run=_rebuild)

    _add_jobs(commands.add_parser("jobs", help="periodic jobs"))
    return parser


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="one line each: last success, last slot, attempts, given-up slots")
    listing.set_defaults(run=_list_jobs)

    again = commands.add_parser("run-again", help="run a given-up slot again")
    again.add_argument("kind", help="as payments.reconcile_recent_days")
    again.add_argument("slot", type=_parse_datetime, help="the start of its period (ISO 8601; default time zone UTC)")
    again.set_defaults(run=_run_job_again)


def _add_dead_letters(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="one line each, the oldest of each service first")
    listing.add_argument("--status", choices=["open", "replayed", "discarded"], default="open")
    listing.set_defaults(run=_list)

    show = commands.add_parser("show", help="show one dead letter with its event")
    show.add_argument("dead_letter", metavar="ID")
    show.set_defaults(run=_show)

    replay = commands.add_parser("replay", help="redeliver, with all open dead letters of the same key, in order")
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("dead_letters", metavar="ID", nargs="*", default=[])
    which.add_argument("--all", action="store_true")
    replay.set_defaults(run=_replay_dead_letters)

    discard = commands.add_parser("discard", help="never process it, and replay the events parked behind it")
    discard.add_argument("dead_letter", metavar="ID")
    discard.add_argument("--reason", required=True)
    discard.set_defaults(run=_discard)


def _topics(_args: argparse.Namespace) -> bool:
    topics = all_topics()
    missing = {topic.topic for topic in Topics().missing(topics)}
    for topic in topics:
        state = "missing" if topic.topic in missing else "exists"
        config = {"partitions": topic.num_partitions, "replication": topic.replication_factor, **(topic.config or {})}
        print(f"{topic.topic:60} {state:8}", *(f"{name}={value}" for name, value in config.items()))
    return True


def _parse_datetime(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _list(args: argparse.Namespace) -> bool:
    found = list(dead_letters.iter_dead_letters(status=args.status))
    if not found:
        print(f"No {args.status} dead letters.")
    for dead_letter in found:
        age_minutes = (utc_now() - dead_letter.created_at).total_seconds() / 60
        line = (
            dead_letter_id(dead_letter),
            dead_letter.handler,
            dead_letter.type,
            dead_letter.key,
            f"{age_minutes:.0f} min",
            dead_letter.reason,
        )
        print("  ".join(line))
    return True


def _show(args: argparse.Namespace) -> bool:
    dead_letter = dead_letters.get_dead_letter(args.dead_letter)
    shown = {column.name: getattr(dead_letter, column.name) for column in DeadLetter.__table__.columns}
    print(json.dumps(shown, indent=2, default=str))
    return True


def _replay_dead_letters(args: argparse.Namespace) -> bool:
    found = dead_letters.iter_dead_letters() if args.all else map(dead_letters.get_dead_letter, args.dead_letters)
    # Replay whole keys: the dead letters of one key must be replayed in order, whichever of them was named.
    keys = dict.fromkeys((dead_letter.handler, dead_letter.key) for dead_letter in found)
    outcomes = [_print_results(dead_letters.replay(handler, key)) for handler, key in keys]
    if not outcomes:
        print("No open dead letters.")
    return all(outcomes)


def _discard(args: argparse.Namespace) -> bool:
    dead_letter = dead_letters.get_dead_letter(args.dead_letter)
    dead_letters.discard(dead_letter, reason=args.reason)
    print(f"{args.dead_letter}: discarded")
    return _print_results(dead_letters.replay(dead_letter.handler, dead_letter.key))


def _print_results(outcomes: Iterable[dead_letters.ReplayResult]) -> bool:
    """Print each outcome as it arrives; return whether all succeeded."""
    done = True
    for outcome in outcomes:
        print(f"{outcome.dead_letter}: {outcome.error or 'done'}")
        done = done and outcome.error is None
    return done


def _replay(args: argparse.Namespace) -> bool:
    if args.status:
        return _show_refills()
    if not (args.since or args.topic or args.handler):
        args.parser.error("choose the events: --since, --topic or --handler")
    if args.handler:
        with _dispatcher() as dispatcher:
            count = redeliver_to_handler(dispatcher, args.handler, topic=args.topic, since=args.since)
        print(f"{count} events redelivered to {args.handler}")
        return True
    for service in [args.topic] if args.topic else settings.SERVICES:
        print(f"{service}: {request_refill(service, since=args.since)} events will be published again")
        if has_older_events(service, since=args.since):
            days = settings.OUTBOX_RETENTION_DAYS
            print(f"{service}: events published more than {days} days ago are skipped; see rebuild")
    return True


def _show_refills() -> bool:
    for service in settings.SERVICES:
        with session_factory(service).begin() as session:
            topic = session.get(KafkaTopic, kafka.topic_of(service))
        if topic and topic.refill_started_at and topic.refill_until is not None:
            minutes = (utc_now() - topic.refill_started_at).total_seconds() / 60
            print(f"{service}: {topic.refill_sent} events in {minutes:.0f} min, {topic.seqs_left} outbox rows left")
        else:
            print(f"{service}: no refill is running")
    return True


def _lag(_args: argparse.Namespace) -> bool:
    for service in settings.SERVICES:
        if ServiceConsumer.topics_of(service):
            places = consumer_lag(service)
            events, seconds = sum(place.events for place in places), max(place.seconds for place in places)
            print(f"{service}: {events} events, {seconds:.0f} s")
    return True


def _rebuild(args: argparse.Namespace) -> bool:
    print(f"{args.projection}: {rebuild(args.projection)} keys rebuilt")
    return True


def _list_jobs(_args: argparse.Namespace) -> bool:
    """Print the state of every job; return False if a slot was given up."""
    given_up = False
    for state in jobs.iter_job_states():
        succeeded = state.last_success_at.isoformat(timespec="seconds") if state.last_success_at else "never"
        print(f"{state.kind}  last success {succeeded}  last slot {state.last_slot.isoformat()}", end="")
        print(f"  attempts {state.attempts}  {state.last_error}" if state.attempts else "")
        for slot in state.failed_slots:
            given_up = True
            print(f"  given up: {slot.isoformat()}")
    return not given_up


def _run_job_again(args: argparse.Namespace) -> bool:
    jobs.run_again(args.kind, args.slot)
    print(f"{args.kind} {args.slot.isoformat()}: a worker runs it within a minute")
    return True


@contextmanager
def _dispatcher() -> Iterator[Dispatcher]:
    """Run a dispatcher for this command, independent of the running bridge."""
    stop = threading.Event()
    store = DeadLetters()
    store.reload_blocked_keys()
    dispatcher = Dispatcher(stop, store)
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        stop.set()
        dispatcher.join()
