"""The baseline for cached reads: Flask without middleware."""

from flask import Flask, Response

from core.cache import cache_redis

BYTES = b'{"items":[' + b"0," * 10_000 + b"0]}"
KEY = "bench:bytes"

app = Flask(__name__)


@app.get("/bare")
def bare() -> Response:
    """Return constant bytes."""
    return Response(BYTES, content_type="application/json")


@app.get("/from-cache")
def from_cache() -> Response:
    """Return the bytes of one GET from the cache: the lower bound for a cached read."""
    return Response(cache_redis().get(KEY), content_type="application/json")
