"""The generated modules of the Python client match the OpenAPI document."""

from ops import generate_client


def test_committed_models_are_current():
    assert (generate_client.PACKAGE / "models.py").read_text() == generate_client.models(), "make client"


def test_committed_operations_are_current():
    assert (generate_client.PACKAGE / "_operations.py").read_text() == generate_client.operations(), "make client"
