"""What went wrong, what to do next, and the exit status: the same for every command."""

from enum import IntEnum

from coursebus import errors


class ExitCode(IntEnum):
    """The exit status of a command. Scripts may branch on it."""

    OK = 0
    FAILED = 1  # the command failed, or doctor found a problem
    USAGE = 2  # the arguments are wrong
    NOT_ALLOWED = 3  # no token, or it does not allow this
    NOT_FOUND = 4
    CONFLICT = 5  # the state of the object does not allow this
    INVALID = 6  # the API refused a value
    TEMPORARY = 7  # try again later
    INTERRUPTED = 130


class CommandFailed(Exception):
    """A command cannot go on. ``next_step`` says what the user can do."""

    def __init__(
        self, message: str, next_step: str, *, code: str = "failed", exit_code: ExitCode = ExitCode.FAILED
    ) -> None:
        super().__init__(message)
        self.next_step, self.code, self.exit_code = next_step, code, exit_code


_SIGN_IN = "Sign in: coursebus login (on a local stack: coursebus login --demo admin)."
# By the code of the error, then by its status.
_NEXT_STEPS: dict[str | int, str] = {
    "token_outdated": "Your roles have changed. " + _SIGN_IN,
    "insufficient_permission": "coursebus whoami shows your permissions. Ask an administrator for the missing one.",
    "access_purchased": "Refund the order: coursebus refunds create ORDER; coursebus access why shows it.",
    "ineligible_refund": "coursebus orders show ORDER says what was refunded before.",
    400: "Correct the arguments; --help shows them.",
    401: _SIGN_IN,
    403: "coursebus whoami shows what your token may do.",
    404: "Check the id. Objects of other people are found with the permission for them only.",
    409: "Read the object again: its state does not allow this.",
    410: "It existed, and is no longer available.",
    412: "Another client has changed it: run the command again.",
    422: "Correct the values named above.",
    429: "Wait, then run the command again.",
    503: "Nothing was executed. Run the command again; coursebus doctor shows what is down.",
    504: "The outcome is unknown. Look before you repeat it; coursebus doctor shows what is slow.",
}
_EXIT_CODES = {
    400: ExitCode.INVALID,
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    410: ExitCode.NOT_FOUND,
    412: ExitCode.CONFLICT,
    422: ExitCode.INVALID,
    429: ExitCode.TEMPORARY,
    503: ExitCode.TEMPORARY,
    504: ExitCode.TEMPORARY,
}


def explain(error: errors.CoursebusError | CommandFailed | TimeoutError) -> tuple[dict[str, object], ExitCode]:
    """Return an error as {"code", "detail", "next", …} and the exit status that it ends the command with."""
    if isinstance(error, CommandFailed):
        return {"code": error.code, "detail": str(error), "next": error.next_step}, error.exit_code
    if isinstance(error, errors.ApiError):
        next_step = _NEXT_STEPS.get(error.code) or _NEXT_STEPS.get(error.status) or "coursebus doctor may say why."
        fields = {"status": error.status, "code": error.code, "detail": error.detail, "errors": error.errors}
        shown = {**fields, "request_id": error.request_id, "next": next_step}
        return shown, _EXIT_CODES.get(error.status, ExitCode.FAILED)
    if isinstance(error, errors.OperationFailed):
        return {"code": error.code, "detail": error.detail, "next": "coursebus operations show ID"}, ExitCode.FAILED
    if isinstance(error, TimeoutError):
        return {
            "code": "timeout",
            "detail": str(error),
            "next": "It goes on: coursebus operations show ID",
        }, ExitCode.TEMPORARY
    next_step = "Is the address right (COURSEBUS_URL), and the API running? coursebus doctor says more."
    return {"code": "connection_failed", "detail": str(error), "next": next_step}, ExitCode.TEMPORARY
