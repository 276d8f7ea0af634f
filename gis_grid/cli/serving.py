"""Serving an installation, in this process or in several that share its socket."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Lock
from pathlib import Path

import uvicorn

from api.app import create_app
from api.serving import Server
from gis_grid.city import City
from gis_grid.cli.options import err
from gis_grid.errors import InvalidInput
from gis_grid.installation import Installation, join_installation
from gis_grid.settings import Settings

END_S = 20  # twice what a worker gives the answers that it is sending
REST_S = 1.0


@dataclass(frozen=True)
class Door:
    """Where the service is asked: a bound socket, and for https a certificate with its key."""

    listener: socket.socket
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def address(self) -> str:
        """What to type into a browser."""
        host, port = self.listener.getsockname()[:2]
        scheme = "https" if self.tls_cert else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


def listen(host: str, port: int) -> socket.socket:
    """A socket for the server, bound; `InvalidInput` where the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Only of a socket that names its protocol does asyncio send at once: others hold an answer's end for 40 ms.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise InvalidInput(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return listener


def serve_here(installation: Installation, door: Door, *, may_tell: Callable[[], bool] = lambda: True) -> None:
    """Serve until told to stop; the address is printed once it is answered at, where `may_tell` then lets it."""
    config = uvicorn.Config(
        create_app(installation),
        log_level="warning",
        ssl_certfile=door.tls_cert,
        ssl_keyfile=door.tls_key,
        server_header=False,
        proxy_headers=False,  # `api.proxies` believes those that the settings name
        timeout_graceful_shutdown=10,
    )
    _Announcing(config, f"{installation.city.name} is ready at {door.address}", may_tell).run(sockets=[door.listener])


class _Announcing(Server):
    """A server that says where it is once it answers."""

    def __init__(self, config: uvicorn.Config, said: str, may_tell: Callable[[], bool]) -> None:
        super().__init__(config)
        self.said, self.may_tell = said, may_tell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then announce the address."""
        await super().startup(sockets)
        if self.started and self.may_tell():
            print(self.said, flush=True)  # noqa: T201


def serve_in_workers(installation: Installation, door: Door, count: int) -> None:
    """Serve in `count` processes until told to stop; one that dies is replaced, and none outlives this one."""
    # Not forked: this process has threads and connections of its own.
    processes = multiprocessing.get_context("spawn")
    given = {
        "settings": installation.settings,
        "city": installation.city,
        "url": installation.url,
        "owner_url": installation.owner_url,
        "door": door,
        "to_tell": processes.Lock(),
    }

    def start() -> BaseProcess:
        worker = processes.Process(target=_work, kwargs=given)
        worker.start()
        return worker

    workers = [start() for _ in range(count)]
    try:
        while True:
            wait([worker.sentinel for worker in workers])
            for place, worker in enumerate(workers):
                if not worker.is_alive():
                    err.print(f"worker {worker.pid} ended ({worker.exitcode}); another takes its place")
                    time.sleep(REST_S)  # one that cannot work would be started without end
                    workers[place] = start()
    finally:
        for worker in workers:
            worker.terminate()
        _await(workers)


def _await(workers: list[BaseProcess]) -> None:
    deadline = time.monotonic() + END_S
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.is_alive():
            worker.kill()
            worker.join()


def _work(*, settings: Settings, city: City, url: str, owner_url: str, door: Door, to_tell: Lock) -> None:
    threading.Thread(target=_end_with_parent, name="parent watcher", daemon=True).start()
    with suppress(KeyboardInterrupt), join_installation(settings, city, url=url, owner_url=owner_url) as installation:
        serve_here(installation, door, may_tell=partial(to_tell.acquire, block=False))  # nobody gives it back


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
