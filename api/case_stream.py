"""Changes of cases, pushed to open pages: one database connection listens for the whole process."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from gis_grid.cases import CHANNEL
from gis_grid.errors import Unavailable

MOST_STREAMS = 2000
BEHIND = 500  # events that a slow reader may lag before it is told to load anew
HEARTBEAT_S = 15.0
RETRY_S = 1.0

log = logging.getLogger(__name__)

Event = dict[str, Any]


class CaseStream:
    """Fans the database's notifications out to every open stream of this process.

    Lives in the event loop that serves the requests; the listening connection is opened with the first stream. A
    reader that was cut off, or lagged too far, gets `reload`: what it missed is in the database, not here.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._readers: set[asyncio.Queue[Event | None]] = set()
        self._connection: Any = None
        self._socket = -1  # a connection that was lost cannot tell it any more
        self._listening: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return len(self._readers)

    async def read(self, place: str | None = None) -> AsyncIterator[str]:
        """Server-sent events of cases, of one grid, community, town or district where `place` is its code.

        Raises
        ------
        Unavailable
            Too many streams are open already.
        """
        if len(self._readers) >= MOST_STREAMS:
            raise Unavailable(f"{MOST_STREAMS} streams are open already; ask again later")
        queue: asyncio.Queue[Event | None] = asyncio.Queue(BEHIND)
        self._readers.add(queue)
        try:
            self._listen()
            yield f"retry: {int(RETRY_S * 1000)}\n\n"
            while not self._is_closed:
                try:
                    event = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if event is None:
                    yield "event: reload\ndata: {}\n\n"
                elif place is None or place in event["ground"]:
                    yield f"event: case\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
        finally:
            self._readers.discard(queue)

    def close(self) -> None:
        """End every stream, so that a server that shuts down need not wait for them."""
        self._is_closed = True
        self._tell_all(None)
        if self._listening is not None:
            self._listening.cancel()

    def _listen(self) -> None:
        if self._listening is None or self._listening.done():
            self._listening = asyncio.get_running_loop().create_task(self._keep_listening())

    async def _keep_listening(self) -> None:
        try:
            while self._readers and not self._is_closed:
                try:
                    await self._listen_once()
                except (sa.exc.OperationalError, OSError) as error:
                    log.warning("the stream of cases lost the database: %s", error)
                await asyncio.sleep(RETRY_S)
        finally:
            self._disconnect()

    async def _listen_once(self) -> None:
        """Listen until the connection fails or nobody reads any more."""
        loop, is_over = asyncio.get_running_loop(), asyncio.Event()
        self._connection = await run_in_threadpool(_listening_connection, self._engine)
        self._socket = self._connection.fileno()
        loop.add_reader(self._socket, self._take, is_over)
        self._tell_all(None)  # what happened while nobody listened is in the database
        while self._readers and not is_over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), HEARTBEAT_S)
        self._disconnect()

    def _take(self, is_over: asyncio.Event) -> None:
        try:
            self._connection.poll()
        except Exception as error:  # noqa: BLE001 - whatever the driver says, the connection is gone
            log.warning("the stream of cases lost the database: %s", str(error).strip())
            self._disconnect()
            is_over.set()
            return
        for notification in self._connection.notifies:
            self._tell_all(json.loads(notification.payload))
        self._connection.notifies.clear()

    def _tell_all(self, event: Event | None) -> None:
        for queue in self._readers:
            is_behind = queue.full()
            while is_behind and not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None if is_behind else event)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            with suppress(Exception):
                connection.close()


def _listening_connection(engine: sa.Engine) -> Any:
    """A connection of its own, out of the pool, that listens."""
    pooled = engine.raw_connection()
    pooled.detach()
    connection: Any = pooled.dbapi_connection
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"listen {CHANNEL}")
    return connection
