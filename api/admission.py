"""How many requests work at once; the others wait their turn, without a thread and without a connection."""

from collections.abc import AsyncIterator

from fastapi import Request

# Fewer than the threads (40) and the connections (30) of a process. Were every thread waiting for the lock that one
# request holds, that one would find no thread to write its answer with, and never commit.
AT_ONCE = 24


async def admitted(request: Request) -> AsyncIterator[None]:
    """Hold a place from when the request is read until it is committed; sending the answer needs none."""
    async with request.app.state.places:
        yield
