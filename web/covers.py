"""Covers of courses without a picture: drawn from the id, as SVG that needs neither a script nor a style attribute."""

import hashlib
from collections.abc import Iterator
from functools import lru_cache

from markupsafe import Markup, escape

_HUES = (168, 205, 232, 262, 318, 12, 32, 84, 142)
_WIDTH, _HEIGHT = 320, 180


@lru_cache(maxsize=2000)
def draw_cover(course_id: str) -> Markup:
    """Return the drawing for a course: the same for the same id."""
    digest = hashlib.sha256(course_id.encode()).digest()
    hue = _HUES[digest[0] % len(_HUES)]
    second = (hue + 25 + digest[1] % 30) % 360
    n = [each / 255 for each in digest[3:12]]
    name = escape(f"g{course_id}")
    lines = "".join(_SHAPES[digest[2] % len(_SHAPES)](n))
    return Markup(  # noqa: S704 numbers, and the escaped id
        f'<svg class="cover" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="xMidYMid slice" aria-hidden="true">'
        f'<defs><linearGradient id="{name}" x1="0" y1="0" x2="1" y2="1"><stop stop-color="hsl({hue} 52% 42%)"/>'
        f'<stop offset="1" stop-color="hsl({second} 58% 28%)"/></linearGradient></defs>'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="url(#{name})"/>'
        f'<g fill="none" stroke="hsl({second} 80% 85%)" stroke-opacity=".35" stroke-width="2">{lines}</g>'
        f'<circle cx="{n[4] * _WIDTH:.0f}" cy="{n[5] * _HEIGHT:.0f}" r="{20 + n[6] * 34:.0f}" fill="hsl({hue} 90% 88%)"'
        ' fill-opacity=".16"/></svg>'
    )


def _circles(n: list[float]) -> Iterator[str]:
    x, y = 60 + n[0] * 220, 40 + n[1] * 110
    for radius in (30, 58, 86, 114, 142):
        yield f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius}"/>'


def _waves(n: list[float]) -> Iterator[str]:
    for k in range(6):
        start = f"M-10 {30 + k * 26 + n[k] * 14:.0f}"
        yield f'<path d="{start}C80 {n[k] * 180:.0f} 200 {n[k + 2] * 180:.0f} 330 {40 + k * 24}"/>'


def _tiles(n: list[float]) -> Iterator[str]:
    for k in range(9):
        x, y = (k % 3) * 90 + n[k] * 50, (k // 3) * 54 + n[8 - k] * 20
        yield (f'<rect x="{x:.0f}" y="{y:.0f}" width="{24 + n[k] * 50:.0f}" height="{24 + n[8 - k] * 30:.0f}" rx="6"/>')


def _threads(n: list[float]) -> Iterator[str]:
    for k in range(7):
        up = f"M{k * 50 - 20 + n[k] * 20:.0f} 190L{k * 50 + 90 + n[k] * 30:.0f} -10"
        yield f'<path d="{up}M{k * 50 + n[k] * 40:.0f} -10l{30 + n[0] * 60:.0f} 200"/>'


_SHAPES = (_circles, _waves, _tiles, _threads)
