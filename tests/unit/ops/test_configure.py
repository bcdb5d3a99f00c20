"""``python -m ops.configure`` writes ops/.env with secrets of its own, keeps what it has, and says what is missing."""

import stat
from pathlib import Path

import pytest

from ops import configure


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(configure, "ROOT", tmp_path)
    monkeypatch.setattr(configure, "ENV", tmp_path / ".env")
    monkeypatch.setattr(configure, "SECRETS", tmp_path / "secrets")
    return tmp_path / ".env"


def test_secrets_are_new_long_and_private(env: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(configure, "find_missing", lambda _variables: [])

    assert configure.main() == 0

    variables = configure.read(env.read_text())
    passwords = [value for name, value in variables.items() if name.endswith("_PASSWORD")]
    assert len(set(passwords)) == len(passwords) >= 19
    assert all(len(password) == 48 for password in (*passwords, variables["SECRET_KEY"]))
    assert stat.S_IMODE(env.stat().st_mode) == 0o600


def test_secret_of_several_lines_is_not_lost(
    env: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(configure, "find_missing", lambda _variables: [])
    given = (
        '# why\n\nSECRET_KEY=mine\nBADGE_SIGNING_KEY="-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"\n'
    )
    env.write_text(given)

    assert configure.main() == 1

    assert env.read_text() == given
    printed = capsys.readouterr().out
    assert "lines 5, 6 " in printed
    assert "ops/secrets/BADGE_SIGNING_KEY" in printed
    assert "MIIE" not in printed


def test_known_values_are_kept_and_comments_stay():
    known = {"SECRET_KEY": "mine", "AUTH0_DOMAIN": "", "EDGE_HTTPS_PORT": "8443"}

    text = configure.fill_in("# why\nSECRET_KEY=\nAUTH0_DOMAIN=tenant\nQUEUE_PASSWORD=\n", known)

    lines = text.splitlines()
    assert lines[:3] == ["# why", "SECRET_KEY=mine", "AUTH0_DOMAIN="]
    assert len(lines[3]) == len("QUEUE_PASSWORD=") + 48
    assert lines[4] == "EDGE_HTTPS_PORT=8443"


def test_examples_and_faults_are_listed_together():
    variables = configure.read(configure.fill_in(configure.EXAMPLE.read_text(), {"WEB_CLIENT_ID": "web"}))

    missing = configure.find_missing(variables)
    assert "PUBLIC_URL is still the example: https://api.example.com" in missing
    assert "WEB_CLIENT_SECRET must be set" in missing

    given = {name: value.replace("example.com", "school.test") for name, value in variables.items()}
    given |= {"WEB_CLIENT_SECRET": "secret", "AUTH0_DOMAIN": "", "OIDC_ISSUER": "https://login.school.test"}
    assert configure.find_missing(given) == [
        "STRIPE_SECRET_KEY or YOOKASSA_SHOP_ID must be set in production: one is enough"
    ]


def test_complete_configuration_lacks_nothing():
    example = configure.EXAMPLE.read_text().replace("example.com", "school.test")
    accounts = {"AUTH0_DOMAIN": "school.eu.auth0.com", "WEB_CLIENT_ID": "web", "WEB_CLIENT_SECRET": "secret"}
    accounts |= {"YOOKASSA_SHOP_ID": "1", "YOOKASSA_SECRET_KEY": "live_1"}

    assert configure.find_missing(configure.read(configure.fill_in(example, accounts))) == []
