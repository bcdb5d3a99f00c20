"""Topics that an administrator creates: the bridge lists them, and creates none itself."""

import pytest

import settings
from bridge import cli, kafka
from bridge.topics import Topics


def test_missing_topics_are_listed_and_not_created(topics: str, monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(settings, "KAFKA_CREATE_TOPICS", False)
    Topics().ensure()

    assert cli.main(["topics"]) == 0

    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert {name for name in lines if not name.endswith(".dlq")} == {kafka.topic_of(each) for each in settings.SERVICES}
    assert f"{topics}payments.courses.grant_access.dlq" in lines
    assert {state for state, *_ in lines.values()} == {"missing"}
    assert f"partitions={settings.KAFKA_PARTITIONS}" in lines[f"{topics}users"]


def test_created_topics_exist(topics: str, capsys: pytest.CaptureFixture[str]):
    Topics().ensure()

    assert cli.main(["topics"]) == 0

    lines = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert {name for name, state in lines.items() if state == "exists"} == {
        kafka.topic_of(each) for each in settings.SERVICES
    }
