"""The blueprint of every service: strict arguments, and policies that document themselves."""

from typing import Any

import flask_smorest

from . import openapi
from .arguments import StrictParser


class Blueprint(flask_smorest.Blueprint):
    """A flask-smorest blueprint whose routes keep the contract without a line of their own."""

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.append(openapi.describe)
