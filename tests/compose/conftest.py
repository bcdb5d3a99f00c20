import pytest


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Collect these tests only on request (``make compose``), because they take minutes."""
    return None if "compose" in config.option.markexpr else True
