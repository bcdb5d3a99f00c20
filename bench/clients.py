"""HTTP clients for the measurements, and the courses that they use."""

import json
import sys
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4


class Connection:
    """Sends JSON over http.client, which takes a fifth of the CPU time of requests."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        parts = urlsplit(url)
        make = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._http, self._path = make(parts.netloc, timeout=60), parts.path.rstrip("/")
        self._headers = {"Content-Type": "application/json", **(headers or {})}

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Return the status and the parsed body; status 0 if the connection failed."""
        try:
            encoded = None if body is None else json.dumps(body)
            self._http.request(method, self._path + path, encoded, {**self._headers, **(headers or {})})
            response = self._http.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            self._http.close()
            return 0, str(error)
        return response.status, json.loads(content or b"null")


class Client(Connection):
    """A user on one keep-alive connection."""

    def __init__(self, url: str, auth0: str, email: str = "") -> None:
        form = {"grant_type": "password", "username": email or f"{uuid4().hex[:12]}@bench.test", "password": "demo"}
        token = Connection(auth0).send("POST", "/oauth/token", form)[1]["access_token"]
        super().__init__(url, {"Authorization": f"Bearer {token}"})

    def require(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Send until the answer is a success, for 60 s: events bring courses and enrolments to other services."""
        until = time.monotonic() + 60
        while not 200 <= (answer := self.send(method, path, body, headers))[0] < 300:
            if time.monotonic() > until:
                sys.exit(f"{method} {path} is answered by {answer}")
            time.sleep(0.05)
        return answer[1]


def create_courses(author: Client, number: int, lessons: int, amount_minor: int = 0) -> dict[str, list[str]]:
    """Publish courses at a price of ``amount_minor``; return the ids of their lessons by course id."""
    price = {"amount_minor": amount_minor, "currency": "USD"}
    fields = {"category": "music", "level": "beginner", "language": "en", "description": "A course.", "price": price}
    courses: dict[str, list[str]] = {}
    for _ in range(number):
        course = author.require("POST", "/v1/courses", {"title": f"Bench {uuid4().hex[:12]}", **fields})["id"]
        section = author.require("POST", f"/v1/courses/{course}/sections", {"title": "Section"})["id"]
        lesson = {"section_id": section, "title": "Lesson", "kind": "text", "content": {"body": "Text"}}
        paths = [author.require("POST", f"/v1/courses/{course}/lessons", lesson)["id"] for _ in range(lessons)]
        author.require("POST", f"/v1/courses/{course}/publish", {})
        courses[course] = paths
    return courses
