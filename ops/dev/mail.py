"""Run the mail sink, which accepts mails by SMTP and shows them by HTTP: ``python -m ops.dev.mail``.

The sink acknowledges a mail after writing it to disk, so a killed sink loses no mail that the sender saw accepted.

GET /messages?to=       [{id, from, to, subject, headers, text, html, received_at}], newest last
GET /messages/<id>/raw  the bytes received by SMTP, before any parser
DELETE /messages        deletes all mails
GET /                   the same as a web page
"""

import email
import json
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import Message
from email.policy import default as modern
from functools import lru_cache
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from flask import Flask, Response, jsonify, render_template_string, request
from werkzeug.serving import make_server

from ops.dev.ports import OFFSETS
from settings import ENVIRONMENT, PORT_BASE, STATE_DIR

_TABLE = "CREATE TABLE IF NOT EXISTS mails (id INTEGER PRIMARY KEY AUTOINCREMENT, message TEXT NOT NULL)"

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Mail sink</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
  summary { cursor: pointer; padding: .5rem 0; border-top: 1px solid #ccc; }
  iframe { width: 100%; height: 32rem; border: 1px solid #ccc; }
  pre { white-space: pre-wrap; } small { color: #555; }
</style>
<h1>Mail sink</h1>
<p>{{ messages | length }} mails, newest first.</p>
{% for message in messages | reverse %}
<details {% if loop.first %}open{% endif %}>
  <summary><b>{{ message.subject }}</b> to {{ message.to | join(", ") }}
    <small>{{ message.received_at }}</small></summary>
  {# Sandboxed, because a mail may contain any HTML; scripts do not run. #}
  {% if message.html %}<iframe sandbox title="{{ message.subject }}" srcdoc="{{ message.html }}"></iframe>
  {% else %}<pre>{{ message.text }}</pre>{% endif %}
</details>
{% endfor %}
</html>
"""


class MailStore:
    """Stores the mails of one sink in a SQLite file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self._transaction() as rows:
            rows.execute(_TABLE)

    def add(self, message: dict[str, Any]) -> None:
        """Store ``message``; it is on disk when this returns."""
        with self._transaction() as rows:
            rows.execute("INSERT INTO mails (message) VALUES (?)", [json.dumps(message)])

    def list_for(self, address: str) -> list[dict[str, Any]]:
        """Return the mails to ``address``, newest last; all mails if ``address`` is empty."""
        with self._transaction() as rows:
            kept = rows.execute("SELECT id, message FROM mails ORDER BY id").fetchall()
        messages = [{"id": str(number), **json.loads(text)} for number, text in kept]
        for message in messages:
            message.pop("raw", None)
        return [message for message in messages if not address or address.lower() in map(str.lower, message["to"])]

    def raw(self, number: str) -> bytes | None:
        """Return the received bytes of a mail, or None if there is no such mail."""
        with self._transaction() as rows:
            found = rows.execute("SELECT message FROM mails WHERE id = ?", [number]).fetchone()
        text = json.loads(found[0]).get("raw") if found else None
        return None if text is None else str(text).encode("latin-1")

    def clear(self) -> None:
        """Delete all mails."""
        with self._transaction() as rows:
            rows.execute("DELETE FROM mails")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # SMTP and HTTP run in different threads, and a SQLite connection belongs to one thread.
        with closing(sqlite3.connect(self._path)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                yield connection


class SmtpHandler:
    """Handles the mails that aiosmtpd receives."""

    def __init__(self, mails: MailStore) -> None:
        self._mails = mails

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 aiosmtpd defines the name
        """Store the mail, then acknowledge it."""
        self._mails.add(parse(envelope.original_content or b"", envelope.rcpt_tos))
        return "250 kept"


def parse(raw: bytes, recipients: list[str]) -> dict[str, Any]:
    """Return the parts of a mail that people and tests inspect. ``to`` lists the recipients of the envelope."""
    mail = email.message_from_bytes(raw)
    headers = {name: _header(name, str(value)) for name, value in mail.raw_items()}
    return {
        "from": headers.get("From"),
        "to": recipients,
        "subject": headers.get("Subject"),
        "headers": headers,
        "text": _body(mail, "plain"),
        "html": _body(mail, "html"),
        "received_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "raw": raw.decode("latin-1"),  # one character per byte
    }


@lru_cache(maxsize=1000)  # the sender of all mails, and recipients who get several
def _address_header(name: str, value: str) -> str:
    return str(modern.header_factory(name, value))


def _header(name: str, value: str) -> str:
    # The modern parser takes 8 ms for all headers of a mail. Only addresses need it.
    unfolded = _FOLD.sub("", value)
    if name in _ADDRESS_HEADERS:
        return _address_header(name, unfolded)
    text = unfolded.encode("ascii", "surrogateescape").decode(errors="replace")  # as it was received
    return str(make_header(decode_header(text))) if "=?" in text else text


_FOLD = re.compile(r"\r?\n(?=[ \t])")
_ADDRESS_HEADERS = {"From", "To"}


def _body(mail: Message, kind: str) -> str | None:
    for part in mail.walk():
        if part.get_content_type() == f"text/{kind}":
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            return content.decode(part.get_content_charset("utf-8"), errors="replace")
    return None


def create_app(mails: MailStore) -> Flask:
    """Return the HTTP application of the sink."""
    app = Flask(__name__)

    @app.get("/messages")
    def messages() -> Response:
        return jsonify(mails.list_for(request.args.get("to", "")))

    @app.get("/messages/<number>/raw")
    def raw(number: str) -> Response:
        found = mails.raw(number)
        return Response(found, 200 if found else 404, content_type="message/rfc822")

    @app.delete("/messages")
    def clear() -> tuple[str, int]:
        mails.clear()
        return "", 204

    @app.get("/")
    def page() -> str:
        return render_template_string(_PAGE, messages=mails.list_for(request.args.get("to", "")))

    return app


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    if ENVIRONMENT == "production":
        raise SystemExit("The mail sink delivers no mail and refuses to start with ENVIRONMENT=production.")
    mails = MailStore(STATE_DIR / "mail" / "mails.sqlite")
    smtp = Controller(
        SmtpHandler(mails), hostname="127.0.0.1", port=PORT_BASE + OFFSETS["mail"], ident="Coursebus mail sink"
    )
    http = make_server("127.0.0.1", PORT_BASE + OFFSETS["mail-http"], create_app(mails), threaded=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    smtp.start()
    try:
        http.serve_forever(poll_interval=3600)  # nothing calls shutdown()
    finally:
        smtp.stop()


if __name__ == "__main__":
    main()
