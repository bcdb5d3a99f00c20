"""What a command needs: the settings, the output and a client. And finding people and courses by what users type."""

from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

import typer

from coursebus import Coursebus, models

from ._failures import CommandFailed, ExitCode
from ._output import Output
from ._settings import Settings


@dataclass
class State:
    """The state of one call of the command line."""

    settings: Settings
    output: Output

    @cached_property
    def client(self) -> Coursebus:
        """The client of the API, created when a command needs it: preparing TLS takes a tenth of a second."""
        return Coursebus(self.settings.url, token=self.settings.token)

    def close(self) -> None:
        """Close the connections, if there are any."""
        if "client" in vars(self):
            self.client.close()

    def person_id(self, person: str) -> str:
        """Return the id of a person given by id or e-mail address. Raises CommandFailed if there is none."""
        if _is_id(person):
            return person
        found = list(self.client.list_users(email=person)) if "@" in person else []
        if len(found) != 1:
            sought = person if found else person.partition("@")[0][:4] or "NAME"  # the same words would find nothing
            raise CommandFailed(
                f"{len(found)} people have the e-mail address {person}." if found else f"There is no person {person}.",
                f"Give an id: coursebus people find {sought} lists people with theirs.",
                code="person_not_found",
                exit_code=ExitCode.NOT_FOUND,
            )
        return found[0].id

    def course_id(self, course: str) -> str:
        """Return the id of a course given by id or slug."""
        return course if _is_id(course) else self.client.get_course(course).id

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before a change that cannot be undone; ``yes`` answers it. Raises CommandFailed."""
        if yes:
            return
        if self.output.as_json:
            raise CommandFailed(question, "Confirm with --yes.", code="not_confirmed", exit_code=ExitCode.USAGE)
        if not typer.confirm(question, err=True):
            raise CommandFailed("Nothing was changed.", "Confirm with y or --yes.", code="not_confirmed")


def state_of(context: typer.Context) -> State:
    """Return the state that the root command has prepared."""
    state: State = context.find_root().obj
    return state


def profile_fields(profile: models.Profile | models.OwnProfile) -> dict[str, object]:
    """Return the lines that show a profile."""
    return {
        "id": profile.id,
        "e-mail": profile.email,
        "verified": profile.email_verified,
        "name": profile.name,
        "language": profile.locale,
        "time zone": profile.timezone,
        "roles": profile.roles,
        "since": profile.created_at,
    }


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
