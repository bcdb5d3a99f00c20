"""Run the broker on the loopback address."""

import asyncio

from ops.dev.ports import OFFSETS
from settings import PORT_BASE

from .broker import Broker


async def _serve(port: int) -> None:
    server = await asyncio.start_server(Broker(port).serve, "127.0.0.1", port, limit=1024 * 1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(PORT_BASE + OFFSETS["kafka"]))
