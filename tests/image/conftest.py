import pytest


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Only for who asks for it (make image): it takes two minutes."""
    return None if "image" in config.option.markexpr else True
