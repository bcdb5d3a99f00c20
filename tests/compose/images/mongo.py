"""The development server for MongoDB with the user of ops/mongo/create_user.js, by SCRAM-SHA-256 (RFC 7677)."""

import base64
import hashlib
import hmac
import itertools
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from mongo.commands import Commands
from mongo.documents import CommandError
from mongo.storage import Storage
from mongo.wire import Server

USER, PASSWORD, ITERATIONS = "coursebus", os.environ["MONGO_PASSWORD"], 15_000
AUTHENTICATION_FAILED = 18


class CommandsWithLogin(Commands):
    """Commands that a client can log in to. Who does not log in is not refused."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self._salt = secrets.token_bytes(16)
        self._conversations: dict[int, str] = {}
        self._ids = itertools.count(1)
        self._commands |= {"saslStart": self._start, "saslContinue": self._continue}

    def _hello(self, command: dict[str, Any]) -> dict[str, Any]:
        asked = {"saslSupportedMechs": ["SCRAM-SHA-256"]} if "saslSupportedMechs" in command else {}
        return super()._hello(command) | asked

    def _start(self, command: dict[str, Any]) -> dict[str, Any]:
        bare = bytes(command["payload"]).decode().removeprefix("n,,")
        nonce = dict(part.split("=", 1) for part in bare.split(","))["r"] + secrets.token_hex(12)
        first = f"r={nonce},s={base64.b64encode(self._salt).decode()},i={ITERATIONS}"
        conversation = next(self._ids)
        self._conversations[conversation] = f"{bare},{first}"
        return {"conversationId": conversation, "done": False, "payload": first.encode()}

    def _continue(self, command: dict[str, Any]) -> dict[str, Any]:
        conversation = int(command["conversationId"])
        final = bytes(command["payload"]).decode()
        without_proof, _, proof = final.rpartition(",p=")
        message = f"{self._conversations.pop(conversation)},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), self._salt, ITERATIONS)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if not hmac.compare_digest(expected, base64.b64decode(proof)) or f"n={USER}," not in message.decode():
            raise CommandError("Authentication failed.", AUTHENTICATION_FAILED)
        verifier = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        return {"conversationId": conversation, "done": True, "payload": b"v=" + base64.b64encode(verifier)}


def delete_expired(commands: Commands) -> None:
    while True:
        commands.delete_expired()
        time.sleep(60)


if __name__ == "__main__":
    commands = CommandsWithLogin(Storage(Path("/data/db/documents.sqlite")))
    threading.Thread(target=delete_expired, args=(commands,), daemon=True).start()
    Server(("0.0.0.0", 27017), commands).serve_forever(poll_interval=1)  # noqa: S104 inside the container
