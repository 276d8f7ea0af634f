"""Messages reach a real HTTP peer once, whatever the network and the sending process do meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Barrier, Thread

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session, sessionmaker

from gis_grid import exchange_sending
from gis_grid.cases import lock_cases, log_of
from gis_grid.city import load_city
from gis_grid.database import sessions
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.errors import Unavailable
from gis_grid.exchange import ExchangeMessage, MessageKind, enqueue
from gis_grid.exchange_balance import Lists, balance_of, differences, fetch_lists
from gis_grid.exchange_peers import Peer
from gis_grid.exchange_receiving import Place
from gis_grid.exchange_sending import PassedUpAlready, pass_up, send_next, sending, wait_after
from gis_grid.installation import Installation
from tests.builders import NOW
from tests.exchange_peer import KEY, LoopbackPeer, delay, drop, fail, redirect, serving
from tests.stored_cases import Desk, by

CITY = load_city()
PLACE = Place(CITY, 50.0, Path())
ROOT = Path(__file__).parents[2]


@pytest.fixture
def template(furnished: str) -> str:
    return furnished


@pytest.fixture
def peer() -> LoopbackPeer:
    peer = LoopbackPeer()
    peer.now = lambda: NOW + timedelta(hours=1)
    return peer


@pytest.fixture
def address(peer: LoopbackPeer) -> Iterator[Peer]:
    with serving(peer) as settings:
        yield settings


def put(session: Session, count: int = 1) -> list[uuid.UUID]:
    ids = [
        enqueue(session, "110", MessageKind.REQUEST, {"reference": str(n)}, now=NOW + timedelta(seconds=n)).id
        for n in range(count)
    ]
    session.commit()
    return ids


def send_all(session: Session, address: Peer, *, rounds: int = 1) -> None:
    """Send all that is due, again and again with the waits between."""
    at = NOW + timedelta(hours=1)
    for _ in range(rounds):
        while send_next(session, "110", address, place=PLACE, now=at, timeout_s=0.5) is not None:
            session.commit()
        session.commit()
        # The peer's clock stands still: only what is due is put forward.
        session.execute(sa.update(ExchangeMessage).values(next_try_at=NOW))
        session.commit()


def states(session: Session) -> dict[uuid.UUID, str]:
    session.expire_all()
    return {one.id: one.state for one in session.scalars(sa.select(ExchangeMessage))}


def test_a_message_is_received_with_the_peers_reference(session: Session, peer: LoopbackPeer, address: Peer) -> None:
    (id_,) = put(session)

    send_all(session, address)

    message = session.get_one(ExchangeMessage, id_)
    assert (message.state, message.reference, message.tries) == ("received", "P1", 1)
    assert peer.stored[str(id_)] == {
        "id": str(id_), "kind": "request", "sent_at": NOW.isoformat(), "reference": "0",
    }  # fmt: skip


@pytest.mark.parametrize("fault", [drop, delay, fail, redirect])
def test_what_the_peer_stored_without_an_answer_is_sent_again_and_stored_once(
    session: Session, peer: LoopbackPeer, address: Peer, fault: object
) -> None:
    ids = put(session, 3)
    peer.faults = [None, fault]  # type: ignore[list-item]

    send_all(session, address, rounds=2)

    assert set(states(session).values()) == {"received"}
    assert sorted(peer.stored) == sorted(map(str, ids))
    assert len(peer.arrivals) == 4
    assert session.get_one(ExchangeMessage, ids[1]).tries == 2


def test_messages_that_overtake_each_other_are_each_stored_once(
    session: Session, peer: LoopbackPeer, address: Peer
) -> None:
    ids = [str(id_) for id_ in put(session, 3)]
    peer.faults = [drop, None, fail]

    send_all(session, address, rounds=2)

    # The second arrived before the first was heard of, and the first and third came again behind it.
    assert peer.arrivals[:3] == ids
    assert sorted(peer.arrivals[3:]) == sorted([ids[0], ids[2]])
    assert sorted(peer.stored) == sorted(ids)
    assert set(states(session).values()) == {"received"}


def test_a_thread_sends_what_is_due_while_the_service_runs_and_ends_with_it(
    installation: Installation, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_sending, "LOOK_EVERY_S", 0.02)
    live = LoopbackPeer()
    with serving(live) as address:
        installation.settings.exchange_peers = {"110": address}
        live.faults = [drop]
        with sending(installation):
            (id_,) = put(session)
            until = time.monotonic() + 20
            while session.scalar(sa.select(ExchangeMessage.tries)) == 0 and time.monotonic() < until:
                session.rollback()
                time.sleep(0.02)
            session.execute(sa.update(ExchangeMessage).values(next_try_at=NOW))
            session.commit()
            while set(states(session).values()) != {"received"} and time.monotonic() < until:
                session.rollback()
                time.sleep(0.02)

    assert set(states(session).values()) == {"received"}
    assert live.arrivals == [str(id_)] * 2
    assert [thread.name for thread in threading.enumerate() if thread.name == "to 110"] == []


def test_a_message_that_fails_does_not_hold_up_the_others(session: Session, peer: LoopbackPeer, address: Peer) -> None:
    ids = put(session, 3)
    peer.faults = [drop]

    send_all(session, address)

    assert [states(session)[id_] for id_ in ids] == ["pending", "received", "received"]
    assert "RemoteDisconnected" in (session.get_one(ExchangeMessage, ids[0]).error or "")


def test_a_peer_that_is_not_there_loses_nothing(session: Session) -> None:
    (id_,) = put(session)
    nobody = Peer(url="http://127.0.0.1:1/exchange", key=KEY)

    send_all(session, nobody)

    message = session.get_one(ExchangeMessage, id_)
    assert (message.state, message.tries) == ("pending", 1)
    assert "refused" in (message.error or "")


def test_a_permanent_refusal_ends_a_message_and_is_named(session: Session, peer: LoopbackPeer, address: Peer) -> None:
    (id_,) = put(session)
    peer.bodies[str(id_)] = b"something else"

    send_all(session, address)

    message = session.get_one(ExchangeMessage, id_)
    assert (message.state, message.reason) == ("refused", 'HTTP 409: {"message": "another body"}')


def test_the_waits_double_up_to_an_hour() -> None:
    waits = [wait_after(tries).total_seconds() for tries in (1, 2, 3, 10, 11, 10_000)]

    assert waits == [5, 10, 20, 2560, 3600, 3600]


def test_a_sender_that_is_killed_after_the_peer_has_stored_loses_and_doubles_nothing(  # noqa: PLR0917 - fixtures
    session: Session, cluster: EmbeddedPostgis, database: str, peer: LoopbackPeer, address: Peer, tmp_path: Path
) -> None:
    ids = put(session, 6)
    pid_file = tmp_path / "pid"

    def kill(_: BaseHTTPRequestHandler) -> None:
        os.kill(int(pid_file.read_text()), signal.SIGKILL)

    peer.faults = [None, kill, None, kill]
    program = Path(__file__).with_name("exchange_sender.py")
    url, now = cluster.url(database, role="gis_grid_app"), (NOW + timedelta(hours=1)).isoformat()
    command = [sys.executable, program, url, address.url, KEY, now, pid_file]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)

    assert done.stdout.split() == ["-9", "-9", "0"]
    assert sorted(peer.stored) == sorted(map(str, ids))
    assert len(peer.arrivals) == 8
    assert set(states(session).values()) == {"received"}


def test_several_senders_at_once_send_each_message_once(
    session: Session, engine: sa.Engine, peer: LoopbackPeer, address: Peer
) -> None:
    ids = put(session, 12)
    factory: sessionmaker[Session] = sessions(engine)
    barrier = Barrier(3)

    def send() -> None:
        barrier.wait()
        while True:
            with factory.begin() as own:
                if send_next(own, "110", address, place=PLACE, now=NOW + timedelta(hours=1)) is None:
                    return

    threads = [Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(peer.arrivals) == sorted(map(str, ids))
    assert set(states(session).values()) == {"received"}


def test_nothing_waits_of_a_transaction_that_was_undone(session: Session) -> None:
    enqueue(session, "110", MessageKind.REQUEST, {}, now=NOW)
    session.rollback()

    assert states(session) == {}


def test_a_case_passed_up_keeps_the_reference_in_its_log_and_is_passed_up_once(
    session: Session, tmp_path: Path, peer: LoopbackPeer, address: Peer
) -> None:
    desk = Desk(session, tmp_path)
    case = desk.filed()
    (locked,) = lock_cases(session, [case.name])
    pass_up(session, locked, to="12345", reason="市属道路", place=PLACE, by=by("dispatcher"), now=desk.at)
    session.commit()
    peer.now = lambda: desk.at

    send_next(session, "12345", address, place=PLACE, now=desk.at)
    session.commit()

    log = [(one.said["what"], one.said.get("reference")) for one in log_of(session, case) if one.action == "exchange"]
    assert log == [("passed_up", None), ("received", "P1")]
    (locked,) = lock_cases(session, [case.name])
    with pytest.raises(PassedUpAlready, match="was passed to 12345 already"):
        pass_up(session, locked, to="12345", reason="再次", place=PLACE, by=by("dispatcher"), now=desk.at)


def test_a_days_balance_adds_up_and_begins_at_the_citys_midnight(
    session: Session, peer: LoopbackPeer, address: Peer
) -> None:
    evening = datetime.fromisoformat("2026-03-02T23:59:59+08:00")
    ids = [
        enqueue(session, "110", MessageKind.REQUEST, {}, now=at).id
        for at in (NOW, NOW + timedelta(seconds=1), NOW + timedelta(seconds=2), evening, evening + timedelta(seconds=1))
    ]
    session.commit()
    peer.states = {str(ids[1]): "returned"}
    peer.faults = [None, None, drop]
    send_all(session, address)

    sent = balance_of(session, "110", NOW.date(), zone=CITY.zone).sent

    assert sent == {"sent": 4, "pending": 2, "received": 1, "returned": 1, "refused": 0}


def test_each_difference_with_the_peers_list_is_named(session: Session, peer: LoopbackPeer, address: Peer) -> None:
    same, lost, unanswered, waiting = put(session, 4)
    peer.faults = [None, None, drop, drop]
    send_all(session, address)
    alien, late = uuid.uuid4(), uuid.uuid4()
    peer.balance = {
        "receipts": [
            {"id": str(same), "state": "received", "reference": "P1"},
            {"id": str(unanswered), "state": "received", "reference": "P3"},
            {"id": str(alien), "state": "received", "reference": "P9"},
        ],
        "messages": [{"id": str(late), "state": "received", "reference": "x"}],
    }

    ours = balance_of(session, "110", NOW.date(), zone=CITY.zone)
    found = differences(ours.lists, fetch_lists(address, NOW.date(), now=NOW), peer="110")

    assert {one.id: (one.sent_by, one.here, one.there) for one in found} == {
        lost: ("us", "received P2", None),
        unanswered: ("us", "pending", "received P3"),
        alien: ("us", None, "received P9"),
        late: ("110", None, "received x"),
    }
    assert waiting not in {one.id for one in found}


def test_a_balance_that_is_none_is_told_as_such(peer: LoopbackPeer, address: Peer) -> None:
    peer.balance = ["nonsense"]

    with pytest.raises(Unavailable, match="its answer is no balance"):
        fetch_lists(address, NOW.date(), now=NOW)


def test_lists_that_say_the_same_have_no_difference() -> None:
    entry = {"id": str(uuid.uuid4()), "state": "received", "reference": "P1"}
    refused = {"id": str(uuid.uuid4()), "state": "refused"}
    ours = Lists.model_validate({"messages": [entry, refused], "receipts": []})
    theirs = Lists.model_validate({"messages": [], "receipts": [entry]})

    assert differences(ours, theirs, peer="110") == []


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/x",
        "ftp://127.0.0.1/",
        "https://",
        "https://a@b/",
        "https://b/?q=1",
        "file:///x",
        "https://b:99999/",
    ],
)
def test_a_peers_address_that_is_not_safe_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Peer(url=url, key=KEY)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="shorter than 32"):
        Peer(url="https://peer.example/x", key="secret")
