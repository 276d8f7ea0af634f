"""The socket that `gis-grid serve` listens on."""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop

from gis_grid.cli.serving import listen


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_answer_is_sent_at_once_and_not_held_for_what_may_follow(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """An answer's head and body are two small pieces: the second would wait for the first to be acknowledged."""
    accepted: asyncio.Future[int]

    class Noting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            sock = transport.get_extra_info("socket")
            accepted.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def connect() -> int:
        nonlocal accepted
        loop = asyncio.get_running_loop()
        accepted = loop.create_future()
        listener = listen("127.0.0.1", 0)
        async with await loop.create_server(Noting, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            try:
                return await asyncio.wait_for(accepted, 10)
            finally:
                writer.close()
                await writer.wait_closed()

    def run() -> int:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            return runner.run(connect())

    with ThreadPoolExecutor(1) as pool:  # where a browser is open, this thread has a loop that runs already
        assert pool.submit(run).result() != 0
