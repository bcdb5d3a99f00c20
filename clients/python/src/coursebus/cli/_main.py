"""The root command, and the way from arguments to an exit status."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from coursebus import errors

from . import (
    _announcements,
    _certificates,
    _courses,
    _doctor,
    _enrollments,
    _login,
    _operators,
    _people,
    _sales,
    _statistics,
)
from ._failures import CommandFailed, ExitCode, explain
from ._output import Output
from ._settings import Settings
from ._state import State

# Later versions of typer contain click, so the class is not always ``click.UsageError``.
UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="coursebus",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="The command line of Coursebus. --json works with every command.",
)
for name, group in {
    "courses": _courses.app,
    "orders": _sales.orders,
    "refunds": _sales.refunds,
    "people": _people.people,
    "access": _people.access,
    "certificates": _certificates.certificates,
    "announcements": _announcements.announcements,
    "statistics": _statistics.statistics,
    "operations": _operators.operations,
    "dead-letters": _operators.dead_letters,
    "replay": _operators.replay,
    "jobs": _operators.jobs,
    "events": _operators.events,
    "requests": _operators.requests,
    "audit": _operators.audit,
}.items():
    app.add_typer(group, name=name)
_sign_in = (_login.login, _login.logout, _login.whoami)
for command in (*_sign_in, _enrollments.enroll, _enrollments.unenroll, _people.erase, _doctor.doctor):
    app.command()(command)


@app.callback()
def prepare(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, errors too.")] = False,
) -> None:
    """Prepare the command: its settings and its output."""
    context.obj = state = State(Settings.load(os.environ), Output(as_json=as_json))
    context.call_on_close(state.close)


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit status. ``--json`` may stand anywhere before ``--``."""
    arguments = with_json_first(arguments)
    output = Output(as_json=arguments[:1] == ["--json"])
    try:
        return app(arguments, prog_name="coursebus", standalone_mode=False) or ExitCode.OK
    except typer.Exit as end:
        return end.exit_code
    except UsageError as error:
        output.error({"code": "usage", "detail": error.format_message(), "next": "--help shows the arguments."})
        return ExitCode.USAGE
    except (CommandFailed, errors.CoursebusError, TimeoutError) as error:
        shown, exit_code = explain(error)
        output.error(shown)
        return exit_code
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of the output, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK


def with_json_first(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with ``--json``, which belongs to the root command, at the start."""
    given = list(arguments)
    end = given.index("--") if "--" in given else len(given)
    if "--json" not in given[:end]:
        return given
    return ["--json", *(each for each in given[:end] if each != "--json"), *given[end:]]
