"""What a stored read is measured against: Flask with nothing around it."""

from flask import Flask, Response

from core.cache import cache_redis

BYTES = b'{"items":[' + b"0," * 10_000 + b"0]}"
KEY = "bench:bytes"

app = Flask(__name__)


@app.get("/bare")
def bare() -> Response:
    """The bytes, made by nobody."""
    return Response(BYTES, content_type="application/json")


@app.get("/from-cache")
def from_cache() -> Response:
    """The bytes from one GET: what no stored read can be faster than."""
    return Response(cache_redis().get(KEY), content_type="application/json")
