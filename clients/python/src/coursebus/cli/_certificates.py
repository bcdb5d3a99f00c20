"""Certificates: verify, download, revoke and reinstate them."""

from pathlib import Path
from typing import Annotated

import typer

from coursebus import models

from ._state import state_of

certificates = typer.Typer(no_args_is_help=True, help="Verify, download, revoke and reinstate certificates.")

Code = Annotated[str, typer.Argument(help="The code on the certificate.")]


@certificates.command()
def verify(context: typer.Context, code: Code) -> None:
    """Show a certificate and whether it is valid."""
    state = state_of(context)
    found = state.client.verify_certificate(code)
    shown = ("status", "holder", "course_title", "issuer", "issued_at", "expires_at", "revoked_at", "verification_url")
    state.output.item(found, {name: getattr(found, name) for name in shown})


@certificates.command()
def download(
    context: typer.Context,
    code: Code,
    language: Annotated[str, typer.Option(help="en or ru.")] = "en",
    to: Annotated[Path | None, typer.Option(help="The file; by default named after the code.")] = None,
) -> None:
    """Store a certificate as PDF."""
    state = state_of(context)
    file = to or Path(f"certificate-{code}.pdf")
    file.write_bytes(state.client.download_certificate(code, language=language))
    state.output.item({"file": str(file)}, {"file": file})


@certificates.command()
def badge(context: typer.Context, code: Code) -> None:
    """Print the Open Badge of a certificate: a signed JWT."""
    state = state_of(context)
    signed = state.client.download_badge(code)
    state.output.item({"badge": signed}, {"badge": signed})


@certificates.command()
def revoke(
    context: typer.Context, code: Code, reason: Annotated[str, typer.Option(help="For staff; not shown to the public.")]
) -> None:
    """Revoke a certificate."""
    state = state_of(context)
    revoked = state.client.revoke_certificate(code, models.CertificateRevocation(reason=reason))
    state.output.item(revoked, {"status": revoked.status, "revoked at": revoked.revoked_at})


@certificates.command()
def reinstate(context: typer.Context, code: Code) -> None:
    """Undo the revocation of a certificate."""
    state = state_of(context)
    reinstated = state.client.reinstate_certificate(code)
    state.output.item(reinstated, {"status": reinstated.status})
