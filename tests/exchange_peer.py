"""A peer as a real HTTP server on loopback, that can be told to fail in the ways that networks do."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gis_grid.exchange_peers import Peer
from gis_grid.exchange_signing import SIGNATURE_HEADER, TIMESTAMP_HEADER, check_signature

KEY = "k" * 32
# What a fault does once the peer has stored the message: None answers as nothing had been.
Fault = Callable[[BaseHTTPRequestHandler], None] | None


class LoopbackPeer:
    """What 110 is for the tests.

    Attributes
    ----------
    stored
        Messages by id, as the peer keeps them: the same id twice is the same message.
    arrivals
        Ids in the order that they came, again and again.
    faults
        One for each of the next messages.
    """

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.bodies: dict[str, bytes] = {}
        self.arrivals: list[str] = []
        self.faults: list[Fault] = []
        self.states: dict[str, str] = {}
        self.balance: Any = {"messages": [], "receipts": []}
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.lock = threading.Lock()

    def take(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Any, Fault]:
        headers = handler.headers
        check_signature(
            KEY, body, timestamp=headers[TIMESTAMP_HEADER], signature=headers[SIGNATURE_HEADER], now=self.now()
        )
        message = json.loads(body)
        id_ = message["id"]
        with self.lock:
            fault = self.faults.pop(0) if self.faults else None
            self.arrivals.append(id_)
            if self.bodies.setdefault(id_, body) != body:
                return 409, {"message": "another body"}, fault
            self.stored[id_] = message
            number = f"P{list(self.stored).index(id_) + 1}"
        state = self.states.get(id_, "received")
        return 201, {"id": id_, "state": state, "reference": number, "reason": None}, fault


def drop(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.close()


def delay(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1.0)


def fail(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(503)
    handler.send_header("Content-Length", "4")
    handler.end_headers()
    handler.wfile.write(b"busy")


def redirect(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@contextmanager
def serving(peer: LoopbackPeer) -> Iterator[Peer]:
    """The settings of a peer that answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, said, fault = peer.take(self, body)
            if fault in {fail, redirect, drop} and fault is not None:
                fault(self)
                return
            if fault is not None:
                fault(self)
            self.answer(status, said)

        def do_GET(self) -> None:
            self.answer(200, peer.balance)

        def answer(self, status: int, said: Any) -> None:
            text = json.dumps(said).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
            except OSError:
                pass  # the sender has given up waiting, or was killed

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Peer(url=f"http://127.0.0.1:{server.server_address[1]}/exchange", key=KEY)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
