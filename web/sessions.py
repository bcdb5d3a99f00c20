"""Sessions on the server: a cookie names an entry of Redis, which has the access token and the form token.

The cache Redis holds them, because a lost session costs a new sign-in and nothing else. Keys are hashes of the cookies,
so that a reader of Redis cannot take over a session.
"""

import hashlib
import secrets
import time
from typing import Any, cast

import msgspec
from flask import Flask, Request, Response
from flask.sessions import SessionInterface, SessionMixin
from redis.exceptions import RedisError
from werkzeug.datastructures import CallbackDict

import settings
from core.log import get_logger
from core.redis import cache_redis

log = get_logger(__name__)

_ID_BYTES = 32
_SIGN_IN_SECONDS = 3600  # of a session before the sign-in: it holds the state of the authorization request
_EXPIRES_AT = "expires_at"


class ServerSession(CallbackDict[str, Any], SessionMixin):
    """The session of one browser; empty if it has none."""

    def __init__(self, session_id: str | None = None, data: dict[str, Any] | None = None) -> None:
        super().__init__(data or {}, self._has_changed)
        self.id = session_id
        self.replaced_id: str | None = None
        self.modified = False

    @staticmethod
    def _has_changed(session: "CallbackDict[str, Any]") -> None:
        cast("ServerSession", session).modified = True

    def rotate(self) -> None:
        """Get a new id, so that a cookie from before the sign-in is worthless."""
        self.replaced_id, self.id = self.id, None
        self.modified = True

    @property
    def lifetime_seconds(self) -> int:
        """The seconds until the session ends, with its access token."""
        return max(int(self.get(_EXPIRES_AT, time.time() + _SIGN_IN_SECONDS) - time.time()), 1)

    def expire_in(self, seconds: int) -> None:
        self[_EXPIRES_AT] = time.time() + seconds


class RedisSessions(SessionInterface):
    """Reads and writes sessions. A request without the cookie needs no Redis."""

    session_class = ServerSession

    def __init__(self) -> None:
        is_secure = settings.WEB_URL.startswith("https://")
        # A browser accepts __Host- only with Secure, Path=/ and no Domain, so no other host can set it. Cookies are not
        # separated by port: the local name has it, so that two stacks on one machine do not sign each other out.
        self.cookie = "__Host-coursebus" if is_secure else f"coursebus_{settings.PORT_BASE}"
        self._is_secure = is_secure

    def open_session(self, app: Flask, request: Request) -> ServerSession:  # noqa: ARG002 Flask's signature
        session_id = request.cookies.get(self.cookie)
        if not session_id:
            return ServerSession()
        try:
            stored = cache_redis().get(_key(session_id))
        except RedisError as error:
            log.warning("sessions are unavailable", reason=str(error))
            return ServerSession()  # the person is shown as signed out; the catalogue works
        if stored is None:
            return ServerSession()  # an id that this server has not made is never used
        return ServerSession(session_id, msgspec.json.decode(cast("bytes", stored), type=dict[str, Any]))

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:  # noqa: ARG002 Flask's signature
        session = cast("ServerSession", session)
        response.vary.add("Cookie")
        if not session.modified:
            return
        replaced = session.replaced_id if session else session.id
        try:
            if replaced:
                cache_redis().delete(_key(replaced))
            if session:
                session.id = session.id or secrets.token_urlsafe(_ID_BYTES)
                cache_redis().set(_key(session.id), msgspec.json.encode(dict(session)), ex=session.lifetime_seconds)
        except RedisError as error:
            log.warning("a session is not stored", reason=str(error))
            return
        if session:
            response.set_cookie(
                self.cookie, cast("str", session.id), httponly=True, secure=self._is_secure, samesite="Lax"
            )
        else:
            response.delete_cookie(self.cookie, httponly=True, secure=self._is_secure, samesite="Lax")


def _key(session_id: str) -> str:
    return f"web:session:{hashlib.sha256(session_id.encode()).hexdigest()}"


def init_app(app: Flask) -> None:
    """Use sessions of Redis."""
    app.session_interface = RedisSessions()
