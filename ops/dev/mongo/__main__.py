"""Run the server on the loopback address; its data is in the directory ``mongo`` of the stack."""

import threading
import time

from ops.dev.ports import OFFSETS
from settings import PORT_BASE, STATE_DIR

from .commands import Commands
from .storage import Storage
from .wire import Server

_EXPIRY_SECONDS = 60  # MongoDB deletes expired documents as often


def _delete_expired(commands: Commands) -> None:
    while True:
        commands.delete_expired()
        time.sleep(_EXPIRY_SECONDS)


if __name__ == "__main__":
    commands = Commands(Storage(STATE_DIR / "mongo" / "documents.sqlite"))
    threading.Thread(target=_delete_expired, args=(commands,), daemon=True).start()
    Server(("127.0.0.1", PORT_BASE + OFFSETS["mongo"]), commands).serve_forever(poll_interval=3600)
