"""``python -m ops.dev up|run|down|reset|status``: what the Makefile calls."""

import signal
import sys
import threading
import time

from ops.dev.ports import OFFSETS
from ops.dev.stack import Stack
from settings import PORT_BASE, STATE_DIR


def up(stack: Stack) -> None:
    """Start in the background; say where everything is."""
    began = time.monotonic()
    started = stack.start()
    print(_addresses(stack))
    print(f"Ready after {time.monotonic() - began:.1f} s." if started else "It was running already.")


def run(stack: Stack) -> None:
    """Run until Ctrl-C, then stop everything."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    up(stack)
    print(f"Logs: {stack.supervisor.logs}. Ctrl-C stops everything.", flush=True)
    while not ended.wait(timeout=1):
        if stack.supervisor.identifier() is None:
            stack.stop()
            raise SystemExit("The supervisor has ended.")
    print("Stopping.", flush=True)
    stack.stop()


def down(stack: Stack) -> None:
    """Stop everything; data stays."""
    print("Stopped." if stack.stop() else "Nothing was running.")


def reset(stack: Stack) -> None:
    """Stop everything and delete its data."""
    stack.reset()
    print(f"Stopped, and the data in {stack.state_dir} is deleted.")


def status(stack: Stack) -> None:
    """List the processes; exit code 1 when nothing runs."""
    if stack.supervisor.identifier() is None:
        raise SystemExit("Nothing is running.")
    for state in stack.supervisor.states():
        print(f"{state['name']:22}{state['statename']:10}{state['description']}")


def _addresses(stack: Stack) -> str:
    lines = [
        f"{process.name:22}{f'127.0.0.1:{port}' if port else '':18}{process.description}"
        for process in stack.processes
        for port in [process.port(stack.port_base)]
    ]
    mails = f"{'mail, to read':22}http://127.0.0.1:{stack.port_base + OFFSETS['mail-http']}/"
    gateway = f"{'API, to read':22}http://127.0.0.1:{stack.port_base}/docs"
    return "\n".join([*lines, "", gateway, *([mails] if any(p.name == "mail" for p in stack.processes) else [])])


COMMANDS = {"up": up, "run": run, "down": down, "reset": reset, "status": status}


def main() -> None:
    """Carry out the one command given."""
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:  # noqa: PLR2004 the program and its command
        raise SystemExit(f"usage: python -m ops.dev {'|'.join(COMMANDS)}")
    COMMANDS[sys.argv[1]](Stack(STATE_DIR, PORT_BASE, detached=True))


if __name__ == "__main__":
    main()
