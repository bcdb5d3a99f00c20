import pytest
from flask.testing import FlaskClient

from tests.support import sample_api
from tests.support.gateway import Person, cache_account, trust_test_tokens

app, client = sample_api.app, sample_api.client


@pytest.fixture
def ann(client: FlaskClient, monkeypatch) -> Person:
    trust_test_tokens(monkeypatch)
    person = Person(client, permissions=("things:write",))
    cache_account(person)
    return person
