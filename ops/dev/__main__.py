"""Control the local stack for the Makefile: ``python -m ops.dev up|run|down|reset|status|env``."""

import signal
import subprocess
import sys
import threading
import time

import requests

from core import command_line
from ops.dev.demo import PEOPLE_PENDING, has_people
from ops.dev.ports import OFFSETS, is_open
from ops.dev.processes import CLIENT
from ops.dev.stack import NotReady, Stack
from ops.fakes.auth0.demo_users import DEMO_ROLES, PASSWORD
from settings import PORT_BASE, ROOT, STATE_DIR

EXPORTED_ADDRESSES = {
    "gateway": "COURSEBUS_URL",
    "stream": "COURSEBUS_STREAM_URL",
    "auth0": "COURSEBUS_AUTH_URL",
    "mail-http": "MAIL_URL",
    "stripe": "STRIPE_URL",
    "yookassa": "YOOKASSA_URL",
}


def up(stack: Stack) -> None:
    """Start the stack in the background and print its addresses."""
    try:
        _start(stack)
    except NotReady as error:
        raise SystemExit(
            f"{error}\n\n{len(stack.pids())} processes keep running: a first start on a slow machine takes longer.\n"
            "  make up      waits for them again\n"
            "  make status  lists them\n"
            "  make down    stops them and keeps the data"
        ) from None


def _start(stack: Stack) -> None:
    began = time.monotonic()
    started = stack.start()
    print(_addresses(stack))
    if not stack.has_own_database:
        print("Demo courses are added to the local database only. To add them to yours: make seed")
    if started and start_adding_people(stack):
        print("Demo people, orders and progress are being added in the background.")
    print(f"Ready after {time.monotonic() - began:.1f} s." if started else "It was already running.")


def run(stack: Stack) -> None:
    """Run until Ctrl-C, then stop all processes."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    try:
        _start(stack)
    except NotReady as error:
        stack.stop()
        raise SystemExit(f"{error}\n\nAll processes were stopped. The next start is faster: make run") from None
    print(f"Logs: {stack.supervisor.logs}. Press Ctrl-C to stop.", flush=True)
    while not ended.wait(timeout=1):
        if stack.supervisor.identifier() is None:
            stack.stop()
            raise SystemExit("supervisord has exited.")
    print("Stopping.", flush=True)
    stack.stop()


def down(stack: Stack) -> None:
    """Stop all processes and keep their data."""
    print("Stopped." if stack.stop() else "Nothing was running.")


def reset(stack: Stack) -> None:
    """Stop all processes and delete their data."""
    stack.reset()
    print(f"Stopped. Deleted the data in {stack.state_dir}.")


def status(stack: Stack) -> None:
    """Print the state of each process; exit with code 1 if no stack is running."""
    if stack.supervisor.identifier() is None:
        raise SystemExit("Nothing is running.")
    for state in stack.supervisor.states():
        print(f"{state['name']:22}{state['statename']:10}{state['description']}")


def env(stack: Stack) -> None:
    """Print shell commands that export the addresses of the running stack and an access token of each demo user.

    The examples of the documentation use them. The tokens are valid for an hour.
    """
    if not is_open(stack.port("gateway")):
        raise SystemExit("Nothing is running. Start the stack first: make up")
    for part, variable in EXPORTED_ADDRESSES.items():
        print(f"export {variable}=http://127.0.0.1:{stack.port(part)}")
    if not any(process.name == "auth0" for process in stack.processes):
        return  # the stack uses a tenant of Auth0, where the demo users do not exist
    for name in ("learner", "instructor", "admin"):
        form = {"grant_type": "password", "username": f"{name}@demo.test", "password": "demo"}
        response = requests.post(f"http://127.0.0.1:{stack.port('auth0')}/oauth/token", data=form, timeout=10)
        response.raise_for_status()
        print(f"export {name.upper()}_TOKEN={response.json()['access_token']}")


def start_adding_people(stack: Stack) -> bool:
    """Add the demo people in the background if the stack has fakes of all providers and a new database of its own.

    Returns False if there is nothing to do. A run that was interrupted is continued at the next start.
    """
    pending = stack.state_dir / PEOPLE_PENDING
    fakes = {"auth0", "stripe", "yookassa"}
    if not (stack.has_own_database and fakes <= {process.name for process in stack.processes}):
        return False
    if not pending.exists() and has_people(stack.port("postgres")):
        return False
    pending.touch()
    with (stack.supervisor.logs / "demo-people.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "ops.dev.demo_people"],
            env={**stack.environ, "PYTHONPATH": str(CLIENT)},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C stops the stack, which stops this process
        )
    return True


def _addresses(stack: Stack) -> str:
    lines = [
        f"{process.name:22}{f'127.0.0.1:{port}' if port else '':18}{process.description}"
        for process in stack.processes
        for port in [process.port(stack.port_base)]
    ]
    names = [process.name for process in stack.processes]
    mails = f"{'mail sink, web page':22}http://127.0.0.1:{stack.port_base + OFFSETS['mail-http']}/"
    gateway = f"{'API documentation':22}http://127.0.0.1:{stack.port_base}/docs"
    web = f"{'storefront, console':22}http://127.0.0.1:{stack.port_base + OFFSETS['web']}/"
    people = f"{'':22}sign in as {', '.join(DEMO_ROLES)}, or any address; the password is {PASSWORD}"
    shown = [gateway, *([mails] if "mail" in names else []), *([web] if "web" in names else [])]
    return "\n".join([*lines, "", *shown, *([people] if {"web", "auth0"} <= {*names} else [])])


COMMANDS = {"up": up, "run": run, "down": down, "reset": reset, "status": status, "env": env}


def main() -> None:
    """Run the command that the first argument names."""
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:  # noqa: PLR2004 program name and command
        raise SystemExit(f"usage: python -m ops.dev {'|'.join(COMMANDS)}")
    COMMANDS[sys.argv[1]](Stack(STATE_DIR, PORT_BASE, detached=True))


if __name__ == "__main__":
    command_line.run(main)
