"""``python -m bridge dead-letters|quarantine|replay|lag|rebuild|jobs``: operators' commands for events and jobs."""

import argparse
import json
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from confluent_kafka import KafkaException

import settings
from models.base import now, sessions
from models.deadletters import DeadLetter, name_of
from models.errors import DomainError
from models.kafka_topics import KafkaTopic

from . import jobs, kafka, letters, quarantine_cli
from .asking import WorkerFailed
from .consume import ServiceConsumer
from .deadletters import DeadLetters
from .dispatch import Dispatcher
from .lag import lag_of
from .reaching import SERVER_ERRORS, unreachable
from .rebuild import NoSuchProjection, rebuild
from .refill import ask_for_refill, has_older_events
from .replay import hand_again
from .routes import ROUTES

HANDLERS = sorted({handler for handlers in ROUTES.values() for handler in handlers})


def main(arguments: list[str]) -> int:
    """Run one command; return the exit status: 0, or 1 if the command failed or left something undone."""
    chosen = _parser().parse_args(arguments)
    try:
        done: bool = chosen.run(chosen)
    except letters.NoSuchLetter as error:
        print(f"There is no dead letter {error}.")
        return 1
    except jobs.SlotNotGivenUp as error:
        print(f"There is no given-up slot {error}; python -m bridge jobs list shows them.")
        return 1
    except NoSuchProjection as error:
        print(f"There is no projection {error}.")
        return 1
    except SERVER_ERRORS as error:
        line = unreachable(error) or (str(error) if isinstance(error, KafkaException) else None)
        if line is None:
            raise
        print(line, file=sys.stderr)
        return 1
    except (DomainError, WorkerFailed) as error:
        print(error)
        return 1
    return 0 if done else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bridge", description="Without arguments it runs the bridge.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_dead_letters(commands.add_parser("dead-letters", help="events that a handler could not take"))

    quarantine_cli.add_commands(commands.add_parser("quarantine", help="events that Kafka refuses for good"))

    replay = commands.add_parser("replay", help="send events of the past again")
    replay.add_argument("status", nargs="?", choices=["status"], help="show how far each refill of a topic has come")
    replay.add_argument(
        "--since", type=_moment, help="told at or after this time (ISO 8601; UTC where it says nothing)"
    )
    replay.add_argument("--topic", choices=settings.SERVICES, help="told by this service")
    replay.add_argument("--handler", choices=HANDLERS, metavar="HANDLER", help="to this one only, and not by Kafka")
    replay.set_defaults(run=_replay, parser=replay)

    lag = commands.add_parser("lag", help="how far each consumer group is behind")
    lag.set_defaults(run=_lag)

    again = commands.add_parser("rebuild", help="make a projection anew from events")
    again.add_argument("projection", help="as payments.offers")
    again.set_defaults(run=_rebuild)

    _add_jobs(commands.add_parser("jobs", help="work that runs by time"))
    return parser


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="one line each: last success, last slot, attempts, given-up slots")
    listing.set_defaults(run=_list_jobs)

    again = commands.add_parser("run-again", help="run a given-up slot again")
    again.add_argument("kind", help="as payments.compare_days")
    again.add_argument("slot", type=_moment, help="the start of its period (ISO 8601; UTC where it says nothing)")
    again.set_defaults(run=_run_job_again)


def _add_dead_letters(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="one line each, the oldest of each service first")
    listing.add_argument("--status", choices=["open", "replayed", "discarded"], default="open")
    listing.set_defaults(run=_list)

    show = commands.add_parser("show", help="all that is known of one")
    show.add_argument("letter", metavar="ID")
    show.set_defaults(run=_show)

    replay = commands.add_parser("replay", help="send again, with all open ones of the same key, in their order")
    which = replay.add_mutually_exclusive_group(required=True)
    which.add_argument("letters", metavar="ID", nargs="*", default=[])
    which.add_argument("--all", action="store_true")
    replay.set_defaults(run=_replay_letters)

    discard = commands.add_parser("discard", help="never handle it, and replay what waits behind it")
    discard.add_argument("letter", metavar="ID")
    discard.add_argument("--reason", required=True)
    discard.set_defaults(run=_discard)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _list(chosen: argparse.Namespace) -> bool:
    found = list(letters.every_letter(status=chosen.status))
    if not found:
        print(f"No {chosen.status} dead letters.")
    for letter in found:
        age_minutes = (now() - letter.created_at).total_seconds() / 60
        line = (
            name_of(letter),
            letter.handler,
            letter.type,
            letter.key,
            f"{age_minutes:.0f} min",
            letter.reason,
        )
        print("  ".join(line))
    return True


def _show(chosen: argparse.Namespace) -> bool:
    letter = letters.find(chosen.letter)
    shown = {column.name: getattr(letter, column.name) for column in DeadLetter.__table__.columns}
    print(json.dumps(shown, indent=2, default=str))
    return True


def _replay_letters(chosen: argparse.Namespace) -> bool:
    found = letters.every_letter() if chosen.all else map(letters.find, chosen.letters)
    # Replay whole keys: the dead letters of one key must be replayed in order, whichever of them was named.
    keys = dict.fromkeys((letter.handler, letter.key) for letter in found)
    outcomes = [_told(letters.replay(handler, key)) for handler, key in keys]
    if not outcomes:
        print("No open dead letters.")
    return all(outcomes)


def _discard(chosen: argparse.Namespace) -> bool:
    letter = letters.find(chosen.letter)
    letters.discard(letter, reason=chosen.reason)
    print(f"{chosen.letter}: discarded")
    return _told(letters.replay(letter.handler, letter.key))


def _told(outcomes: Iterable[letters.Replayed]) -> bool:
    """Print each outcome as it arrives; return whether all succeeded."""
    done = True
    for outcome in outcomes:
        print(f"{outcome.letter}: {outcome.error or 'done'}")
        done = done and outcome.error is None
    return done


def _replay(chosen: argparse.Namespace) -> bool:
    if chosen.status:
        return _show_refills()
    if not (chosen.since or chosen.topic or chosen.handler):
        chosen.parser.error("say which events: --since, --topic or --handler")
    if chosen.handler:
        with _dispatcher() as dispatcher:
            count = hand_again(dispatcher, chosen.handler, topic=chosen.topic, since=chosen.since)
        print(f"{count} events given to {chosen.handler}")
        return True
    for service in [chosen.topic] if chosen.topic else settings.SERVICES:
        print(f"{service}: {ask_for_refill(service, since=chosen.since)} events go to Kafka again")
        if has_older_events(service, since=chosen.since):
            days = settings.OUTBOX_KEPT_DAYS
            print(f"{service}: events published more than {days} days ago are left out; see rebuild")
    return True


def _show_refills() -> bool:
    for service in settings.SERVICES:
        with sessions(service).begin() as session:
            topic = session.get(KafkaTopic, kafka.topic_of(service))
        if topic and topic.refill_began_at and topic.refill_until is not None:
            minutes = (now() - topic.refill_began_at).total_seconds() / 60
            print(f"{service}: {topic.refill_sent} events in {minutes:.0f} min, {topic.seqs_left} outbox rows left")
        else:
            print(f"{service}: no refill is running")
    return True


def _lag(_chosen: argparse.Namespace) -> bool:
    for service in settings.SERVICES:
        if ServiceConsumer.topics_of(service):
            places = lag_of(service)
            events, seconds = sum(place.events for place in places), max(place.seconds for place in places)
            print(f"{service}: {events} events, {seconds:.0f} s")
    return True


def _rebuild(chosen: argparse.Namespace) -> bool:
    print(f"{chosen.projection}: {rebuild(chosen.projection)} keys made anew")
    return True


def _list_jobs(_chosen: argparse.Namespace) -> bool:
    """Print the state of every job; return False if a slot was given up."""
    given_up = False
    for state in jobs.every_job():
        succeeded = state.last_success_at.isoformat(timespec="seconds") if state.last_success_at else "never"
        print(f"{state.kind}  last success {succeeded}  last slot {state.last_slot.isoformat()}", end="")
        print(f"  attempts {state.attempts}  {state.last_error}" if state.attempts else "")
        for slot in state.given_up:
            given_up = True
            print(f"  given up: {slot.isoformat()}")
    return not given_up


def _run_job_again(chosen: argparse.Namespace) -> bool:
    jobs.run_again(chosen.kind, chosen.slot)
    print(f"{chosen.kind} {chosen.slot.isoformat()}: a worker runs it within a minute")
    return True


@contextmanager
def _dispatcher() -> Iterator[Dispatcher]:
    """Run a dispatcher for this command, independent of the running bridge."""
    stop = threading.Event()
    dead_letters = DeadLetters()
    dead_letters.reload()
    dispatcher = Dispatcher(stop, dead_letters)
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        stop.set()
        dispatcher.join()
