"""Asking a peer over the network: signed, in time, and of no machine that it may not be."""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from gis_grid.exchange_peers import Peer
from gis_grid.exchange_signing import sign

TIMEOUT_S = 10.0
LARGEST_ANSWER = 1 << 20
PORTS = {"http": 80, "https": 443}


class Answer(NamedTuple):
    """A peer's answer: its HTTP status and body."""

    status: int
    body: bytes


class NoAnswer(Exception):
    """The peer could not be reached, may not be reached there, or did not answer in time."""


def fetch(peer: Peer, method: str, path: str, body: bytes = b"", *, now: datetime, timeout_s: float) -> Answer:
    """A peer's answer to a signed request; redirects are not followed.

    Raises
    ------
    NoAnswer
        Saying why there is none.
    """
    parts = urlsplit(peer.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    headers = {"Content-Type": "application/json", **sign(peer.key.get_secret_value(), body, at=now)}
    if peer.token is not None:
        headers["Authorization"] = f"Bearer {peer.token.get_secret_value()}"
    # Each byte of a slow answer starts the socket's own time-out anew.
    cut = threading.Timer(2 * timeout_s, _cut, [connection])
    cut.start()
    try:
        connection.sock = _connected(peer, timeout_s)
        if parts.scheme == "https":
            connection.sock = secured = _in_tls(connection.sock, connection.host)
            secured.do_handshake()  # by itself, so that it too can be cut
        connection.request(method, (parts.path + path) or "/", body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, _read(answer, until=time.monotonic() + timeout_s))
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"{type(error).__name__}: {error}") from error
    finally:
        cut.cancel()
        connection.close()


def _connected(peer: Peer, timeout_s: float) -> socket.socket:
    """A connection to one of the addresses that were checked: the name is not looked up a second time."""
    parts = urlsplit(peer.url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    why: OSError = OSError(f"{host} has no address")
    for address in _addresses(peer, host, port):
        try:
            return socket.create_connection((address, port), timeout_s)
        except OSError as error:
            why = error
    raise why


def _addresses(peer: Peer, host: str, port: int) -> list[str]:
    """What a name stands for now; all of it must be where the peer may be.

    Raises
    ------
    NoAnswer
        One of the addresses is not.
    """
    found = [str(row[4][0]) for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    refused = [text for text in found if not peer.may_be_at(ipaddress.ip_address(text.partition("%")[0]))]
    if refused:
        raise NoAnswer(
            f"{host} is {', '.join(refused)}: an address that is not public, nor among the webhook's `networks`"
        )
    return found


def _in_tls(plain: socket.socket, host: str) -> ssl.SSLSocket:
    return ssl.create_default_context().wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)


def _cut(connection: http.client.HTTPConnection) -> None:
    with suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)


def _read(answer: http.client.HTTPResponse, *, until: float) -> bytes:
    """A body that comes whole, in time and in a bearable size."""
    said = bytearray()
    while piece := answer.read1(65536):
        said += piece
        if len(said) > LARGEST_ANSWER or time.monotonic() > until:
            raise NoAnswer("the answer is too long, or takes too long")
    return bytes(said)
