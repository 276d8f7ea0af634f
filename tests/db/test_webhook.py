"""Acts of supervision reach a webhook once committed, whatever it does meanwhile, and no other host ever."""

import ipaddress
import socket
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session, sessionmaker

from gis_grid.cases import log_of
from gis_grid.database import TELLS_WEBHOOK, sessions
from gis_grid.exchange import ExchangeMessage
from gis_grid.exchange_fetching import NoAnswer, fetch
from gis_grid.exchange_peers import Peer, Webhook
from gis_grid.exchange_receiving import Place
from gis_grid.exchange_sending import send_next
from gis_grid.settings import Settings
from gis_grid.supervision import sweep
from tests.builders import NOW
from tests.exchange_peer import KEY, Fault, LoopbackPeer, delay, drop, fail, serving
from tests.stored_cases import CITY, WORKSTATION, Desk

LATER = NOW + timedelta(days=40)
PLACE = Place(CITY, 50.0, Path())


@pytest.fixture
def template(furnished: str) -> str:
    return furnished


@pytest.fixture
def peer() -> LoopbackPeer:
    peer = LoopbackPeer()
    peer.now = lambda: LATER
    return peer


@pytest.fixture
def hook(peer: LoopbackPeer) -> Iterator[Webhook]:
    with serving(peer) as settings:
        yield by_name(settings)


def by_name(peer: Peer, *, networks: Sequence[str] = ("127.0.0.0/8", "::1")) -> Webhook:
    url = peer.url.replace("127.0.0.1", "localhost")
    return Webhook(url=url, key=KEY, networks=networks)  # type: ignore[arg-type]


@pytest.fixture
def desk(session: Session, tmp_path: Path) -> Desk:
    session.info[TELLS_WEBHOOK] = True
    return Desk(session, tmp_path)


def late(desk: Desk) -> int:
    """A case eight acts late, and its acts issued; its id."""
    case = desk.filed()
    sweep(desk.session, city=CITY, now=LATER)
    desk.session.commit()
    return case.id


def send_all(session: Session, hook: Webhook, *, rounds: int = 1) -> None:
    for _ in range(rounds):
        while send_next(session, "webhook", hook, place=PLACE, now=LATER, timeout_s=0.5) is not None:
            session.commit()
        session.commit()
        session.execute(sa.update(ExchangeMessage).values(next_try_at=NOW))
        session.commit()


def messages(session: Session) -> list[ExchangeMessage]:
    session.expire_all()
    return list(session.scalars(sa.select(ExchangeMessage).order_by(ExchangeMessage.created_at)))


def test_each_act_is_told_once_signed_and_without_names(desk: Desk, peer: LoopbackPeer, hook: Webhook) -> None:
    case = desk.filed()
    sweep(desk.session, city=CITY, now=LATER)
    desk.session.commit()

    send_all(desk.session, hook, rounds=2)

    told = list(peer.stored.values())
    log = {entry.seq: entry for entry in log_of(desk.session, case) if entry.action == "supervise"}
    assert {(one["case"], one["seq"], one["act"]) for one in told} == {
        (case.serial, seq, entry.said["act"]) for seq, entry in log.items()
    }
    assert len(peer.arrivals) == len(log) == 8
    assert told[0]["told"][0] == {"unit": WORKSTATION, "post": None}
    assert {one.state for one in messages(desk.session)} == {"received"}
    assert not {"text", "name", "phone", "who"} & set(told[0])


def test_an_act_that_is_rolled_back_is_told_to_nobody(desk: Desk) -> None:
    desk.filed()
    sweep(desk.session, city=CITY, now=LATER)
    desk.session.rollback()

    assert messages(desk.session) == []


def test_without_a_webhook_nothing_waits_for_one(session: Session, tmp_path: Path) -> None:
    late(Desk(session, tmp_path))

    assert messages(session) == []


@pytest.mark.parametrize("fault", [drop, delay, fail])
def test_what_the_webhook_did_not_take_is_sent_again(
    desk: Desk, peer: LoopbackPeer, hook: Webhook, fault: Fault
) -> None:
    late(desk)
    peer.faults = [fault]

    send_all(desk.session, hook)
    before = [one.state for one in messages(desk.session)]
    send_all(desk.session, hook)

    assert sorted(before) == ["pending", *["received"] * 7]
    assert {one.state for one in messages(desk.session)} == {"received"}
    assert len(peer.arrivals) == 9


def test_a_redirect_to_another_host_is_not_followed_and_is_named(desk: Desk, peer: LoopbackPeer, hook: Webhook) -> None:
    other = LoopbackPeer()
    with serving(other) as elsewhere:
        late(desk)

        def away(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(307)
            handler.send_header("Location", f"{elsewhere.url}/secret")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            handler.answer = lambda *_: None  # type: ignore[attr-defined]

        peer.faults = [away] * 8
        send_all(desk.session, hook)

    assert other.arrivals == []
    assert {(one.state, one.error) for one in messages(desk.session)} == {
        ("pending", "HTTP 307: a redirect, which is not followed")
    }


def test_a_webhook_that_hangs_holds_up_no_sweep(
    desk: Desk, peer: LoopbackPeer, hook: Webhook, engine: sa.Engine
) -> None:
    arrived, is_over = threading.Event(), threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        arrived.set()
        is_over.wait(20)

    late(desk)
    peer.faults = [hang]
    tried: list[str | None] = []

    def send() -> None:
        with sessionmaker(engine).begin() as session:
            sent = send_next(session, "webhook", hook, place=PLACE, now=LATER, timeout_s=15)
            tried.append(sent.state if sent else None)

    sender = threading.Thread(target=send)
    sender.start()
    assert arrived.wait(10)
    desk.at = NOW
    desk.filed()
    with sessions(engine, tells_webhook=True).begin() as session:
        issued = sweep(session, city=CITY, now=LATER).issued
    is_held = sender.is_alive() and not tried
    is_over.set()
    sender.join()

    assert (issued, is_held, tried) == (8, True, ["received"])
    assert len(messages(desk.session)) == 16


def test_a_webhook_that_answers_byte_by_byte_is_cut_off(desk: Desk, peer: LoopbackPeer, hook: Webhook) -> None:
    is_over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.answer = lambda *_: None  # type: ignore[attr-defined]
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200:
                handler.wfile.write(bytes([byte]))
                if is_over.wait(0.1):
                    return
        except OSError:
            pass

    late(desk)
    peer.faults = [drip]
    message = send_next(desk.session, "webhook", hook, place=PLACE, now=LATER, timeout_s=0.3)
    is_over.set()

    assert message is not None
    assert (message.state, message.tries) == ("pending", 1)


def test_a_name_of_this_machine_is_not_sent_to_unless_the_setting_lists_it(
    desk: Desk, peer: LoopbackPeer, hook: Webhook
) -> None:
    late(desk)
    unlisted = hook.model_copy(update={"networks": (ipaddress.ip_network("10.0.0.0/8"),)})

    send_all(desk.session, unlisted)
    waiting = {(one.state, "an address that is not public" in (one.error or "")) for one in messages(desk.session)}
    before = list(peer.arrivals)
    send_all(desk.session, hook)

    assert (waiting, before) == ({("pending", True)}, [])
    assert len(peer.arrivals) == 8


def test_the_connection_goes_to_the_address_that_was_checked(
    desk: Desk, peer: LoopbackPeer, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []

    def answer_once(host: str, port: int, *args: object, **more: object) -> list[tuple[object, ...]]:
        if host != "127.0.0.1":
            looked_up.append(host)
        address = "127.0.0.1" if len(looked_up) == 1 else "10.9.9.9"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    late(desk)
    monkeypatch.setattr(socket, "getaddrinfo", answer_once)
    sent = send_next(desk.session, "webhook", hook, place=PLACE, now=LATER, timeout_s=0.5)

    assert sent is not None
    assert (sent.state, looked_up, len(peer.arrivals)) == ("received", ["localhost"], 1)


NOT_PUBLIC = (
    "10.1.2.3 172.16.0.1 192.168.1.1 127.0.0.1 0.0.0.0 169.254.169.254 100.64.0.1 224.0.0.1 "
    "::1 :: fd00::1 fe80::1%eth0 ::ffff:10.0.0.1 64:ff9b::a00:1 ff0e::1"
)


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_a_name_that_stands_for_no_public_address_too_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(socket.AF_INET6 if ":" in one else socket.AF_INET, 1, 6, "", (one, 443)) for one in ("8.8.8.8", address)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)
    hook = Webhook(url="https://hooks.example/", key=KEY)  # type: ignore[arg-type]

    with pytest.raises(NoAnswer, match=r"hooks\.example is .*: an address that is not public"):
        fetch(hook, "POST", "", b"{}", now=NOW, timeout_s=0.1)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "10.20.0.7", "::ffff:10.20.0.7"])
def test_a_name_may_stand_for_public_addresses_and_listed_ones(address: str) -> None:
    settings = Settings(
        webhook={"url": "https://hooks.example/", "key": KEY, "networks": ["10.20.0.7"]},
        webhook_hosts=("hooks.example",),
    )

    assert settings.webhook is not None
    assert settings.webhook.may_be_at(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("https://evil.example/hook", "evil.example is not in GIS_GRID_WEBHOOK_HOSTS"),
        ("https://hooks.example.evil.example/", "hooks.example.evil.example is not in"),
        ("https://evil.example#hooks.example", "without user, query and fragment"),
        ("https://hooks.example@evil.example/", "without user, query and fragment"),
        ("https://evil.example\\@hooks.example/", "without blanks and backslashes"),
        ("https://hooks.example:443@evil.example/", "without user, query and fragment"),
        ("https://hooks.example\n.evil.example/", "plain ASCII"),
        ("https://ｈooks.example/", "plain ASCII"),
        ("https://127.0.0.1/", "is an address"),
        ("https://10.1.2.3/", "is an address"),
        ("https://[::1]/", "is an address"),
        ("https://[::ffff:10.0.0.1]/", "is an address"),
        ("https://2130706433/", "is an address"),
        ("https://0x7f000001/", "is an address"),
        ("https://127.1/", "is an address"),
        ("http://hooks.example/", "only https is safe"),
        ("file:///etc/passwd", "expected https"),
        ("gopher://hooks.example/", "only https is safe"),
        ("https:///hook", "expected https"),
    ],
)
def test_a_webhook_anywhere_else_is_refused_by_name(url: str, named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Settings(webhook={"url": url, "key": KEY}, webhook_hosts=("hooks.example",))


@pytest.mark.parametrize("url", ["https://hooks.example/a", "https://HOOKS.example./a", "https://hooks.example:8443"])
def test_a_webhook_on_an_allowed_host_is_taken(url: str) -> None:
    settings = Settings(webhook={"url": url, "key": KEY}, webhook_hosts=("Hooks.example",))

    assert list(settings.receivers) == ["webhook"]


def test_no_list_allows_no_host() -> None:
    with pytest.raises(ValidationError, match="which allows none"):
        Settings(webhook={"url": "https://hooks.example/", "key": KEY})
