"""Compile PDF documents from the Typst templates in templates/. Every text is an input, never markup."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from core.log import get_logger

log = get_logger(__name__)

_TEMPLATES = Path(__file__).with_name("templates")
_one_at_a_time = Lock()  # a document takes 20 ms of processor time: many at once must not delay other requests


def compile_pdf(template: str, inputs: Mapping[str, str], *, number: str) -> bytes:
    """Return the document as PDF/UA, which screen readers can read; ``number`` names it in the log.

    If the fonts lack a character, it is an ordinary PDF with a box in its place.
    """
    # Loaded by the first document: most processes never make one, and the library takes 15 MiB.
    typst = importlib.import_module("typst")
    source = (_TEMPLATES / template).read_bytes()
    with _one_at_a_time:
        try:
            return _compile(typst, source, inputs, pdf_standards=["ua-1"])
        except typst.TypstError as error:  # PDF/UA refuses characters that the fonts lack, such as 李 or an emoji
            log.warning("document is no PDF/UA", template=template, number=number, reason=str(error))
            return _compile(typst, source, inputs, pdf_standards=[])


def _compile(typst: Any, source: bytes, inputs: Mapping[str, str], *, pdf_standards: list[str]) -> bytes:
    document: bytes = typst.compile(
        source, sys_inputs=dict(inputs), ignore_system_fonts=True, pdf_standards=pdf_standards
    )
    return document
