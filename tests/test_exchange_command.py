"""`gis-grid exchange`, as a person runs it, with a peer that answers."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy.orm import Session
from typer.testing import Result

from gis_grid.city import load_city
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.exchange import MessageKind, enqueue
from tests.exchange_peer import KEY, LoopbackPeer, serving

Run = Callable[..., Result]


@pytest.fixture
def template(furnished: str) -> str:
    return furnished


def test_what_waits_is_sent_and_the_balance_says_so(
    run: Run, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    id_ = enqueue(session, "110", MessageKind.REQUEST, {"reference": "7"}, now=now).id
    session.commit()
    peer = LoopbackPeer()
    with serving(peer) as address:
        monkeypatch.setenv("GIS_GRID_EXCHANGE_PEERS", json.dumps({"110": {"url": address.url, "key": KEY}}))
        sent = run("exchange", "send")
        day = f"{now.astimezone(load_city().zone):%Y-%m-%d}"
        offline = run("exchange", "balance", "110", "--day", day, "--offline")
        asked = run("exchange", "balance", "110", "--day", day)

    assert (sent.exit_code, f"{id_} to 110: received P1" in sent.output) == (0, True), sent.output
    assert (offline.exit_code, "sent to 110: 1 = pending 0, received 1" in offline.output) == (0, True), offline.output
    # The peer's list is empty: the one difference is named.
    assert (asked.exit_code, str(id_) in asked.output, "1 differences" in asked.output) == (1, True, True)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["send"], InvalidInput),
        (["balance", "119"], NotFound),
        (["balance", "110", "--day", "yesterday"], InvalidInput),
        (["balance", "110"], NotFound),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_told(run: Run, words: list[str], error: type[Exception]) -> None:
    done = run("exchange", *words)

    assert isinstance(done.exception, error), done.output
