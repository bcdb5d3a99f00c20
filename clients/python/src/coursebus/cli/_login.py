"""Sign in: the device flow (RFC 8628) of Auth0, or a demo user of a local stack."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import typer

from ._failures import CommandFailed, ExitCode
from ._settings import Settings, expiry_of
from ._state import profile_fields, state_of

app = typer.Typer(no_args_is_help=True)

_TIMEOUT_SECONDS = 15
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SLOW_DOWN_SECONDS = 5  # by which RFC 8628 lengthens the interval
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@app.command()
def login(
    context: typer.Context,
    demo: Annotated[str, typer.Option(help="Demo user of a local stack: learner, instructor or admin.")] = "",
) -> None:
    """Sign in and keep the token in a file that only you can read."""
    state = state_of(context)
    settings = state.settings
    token = _demo_token(settings, demo) if demo else _device_token(settings, state.output.note)
    settings.save_token(token)
    expires_at = expiry_of(token)
    state.output.done(
        f"Signed in until {expires_at or 'an unknown time'}. The token is in {settings.path}.",
        {"path": str(settings.path), "expires_at": expires_at, "url": settings.url},
    )


@app.command()
def logout(context: typer.Context) -> None:
    """Delete the token."""
    state = state_of(context)
    was_there = state.settings.forget_token()
    state.output.done("Signed out." if was_there else "There was no token.")


@app.command()
def whoami(context: typer.Context) -> None:
    """Show your profile, and what your token may do until when."""
    state = state_of(context)
    profile = state.client.get_profile()
    token = state.settings.token
    expires_at = expiry_of(token) if token else None
    more = {"permissions": profile.permissions, "token valid until": expires_at, "api": state.settings.url}
    state.output.item(profile, profile_fields(profile) | more)


def _demo_token(settings: Settings, name: str) -> str:
    """Return the token of a demo user. Raises CommandFailed if the tenant is not a local fake."""
    if urlsplit(settings.auth_url).hostname not in _LOOPBACK:
        raise CommandFailed(
            f"{settings.auth_url} is not a local stack, and has no demo users.",
            "Run coursebus login without --demo.",
            exit_code=ExitCode.USAGE,
        )
    form = {"grant_type": "password", "username": f"{name}@demo.test", "password": "demo"}
    return str(_post(settings, "/oauth/token", form)["access_token"])


def _device_token(settings: Settings, say: Any) -> str:
    """Return a token after the user has confirmed a code in a browser. Raises CommandFailed."""
    asked = {"client_id": settings.client_id, "scope": "openid profile email"}
    if settings.audience:
        asked["audience"] = settings.audience
    device = _post(settings, "/oauth/device/code", asked)
    say(f"Open {device.get('verification_uri_complete') or device['verification_uri']}")
    say(f"and confirm the code {device['user_code']}. Waiting …")
    interval = float(device.get("interval", _SLOW_DOWN_SECONDS))
    deadline = time.monotonic() + float(device["expires_in"])
    form = {"grant_type": _DEVICE_GRANT, "device_code": device["device_code"], "client_id": settings.client_id}
    while time.monotonic() < deadline:
        time.sleep(interval)
        answer = _request(settings, "/oauth/token", form)
        body = _json(answer)
        match body.get("error"):
            case None if answer.is_success:
                return str(body["access_token"])
            case "authorization_pending":
                continue
            case "slow_down":
                interval += _SLOW_DOWN_SECONDS
            case _:
                break
    else:
        body = {"error": "expired_token"}
    raise _refused(body)


def _post(settings: Settings, path: str, form: dict[str, str]) -> dict[str, Any]:
    answer = _request(settings, path, form)
    body = _json(answer)
    if not answer.is_success:
        raise _refused(body)
    return body


def _request(settings: Settings, path: str, form: dict[str, str]) -> httpx.Response:
    try:
        return httpx.post(f"{settings.auth_url}{path}", data=form, timeout=_TIMEOUT_SECONDS)
    except httpx.TransportError as error:
        raise CommandFailed(
            f"{settings.auth_url} does not answer: {error}",
            "Is COURSEBUS_AUTH_URL right, and does the local stack run?",
            code="connection_failed",
            exit_code=ExitCode.TEMPORARY,
        ) from error


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {"error": f"status_{answer.status_code}"}


def _refused(body: dict[str, Any]) -> CommandFailed:
    code = str(body.get("error", "unexpected_response"))
    next_steps = {
        "expired_token": "Run coursebus login again and confirm the code in time.",
        "access_denied": "The sign-in was refused in the browser. Run coursebus login again.",
        "unauthorized_client": "Allow the device code grant for the client in Auth0, or set COURSEBUS_CLIENT_ID.",
        "invalid_grant": "Demo users are learner, instructor and admin.",
    }
    return CommandFailed(
        str(body.get("error_description") or code),
        next_steps.get(code, "Check COURSEBUS_AUTH_URL, COURSEBUS_CLIENT_ID and COURSEBUS_AUDIENCE."),
        code=code,
        exit_code=ExitCode.NOT_ALLOWED,
    )


def seconds_left(token: str) -> float | None:
    """Return for how many seconds a token is valid, negative if it has expired; None if it does not say so."""
    expires_at = expiry_of(token)
    return (expires_at - datetime.now(UTC)).total_seconds() if expires_at else None
