"""The base blueprint: strict argument parsing, and access policies in the OpenAPI document."""

from collections.abc import Callable
from typing import Any, TypeVar

import flask_smorest

from . import openapi
from .request_parsing import StrictParser
from .schemas import Schema

View = TypeVar("View", bound=Callable[..., Any])


class Blueprint(flask_smorest.Blueprint):
    """A flask-smorest blueprint that parses arguments strictly and documents the policy of each route."""

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.append(openapi.describe)

    def arguments(
        self, schema: Schema | type[Schema], *, location: str = "json", required: bool = True, **kwargs: Any
    ) -> Callable[[View], View]:
        """Like flask-smorest's ``arguments``, but a missing body is a 400 if ``required``."""
        instance = schema() if isinstance(schema, type) else schema
        instance.body_required = location == "json" and required
        decorate: Callable[[View], View] = super().arguments(instance, location=location, required=required, **kwargs)
        return decorate
