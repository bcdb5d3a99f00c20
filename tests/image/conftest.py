import pytest


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Collect the image tests only on request (``make image``), because they take two minutes."""
    return None if "image" in config.option.markexpr else True
