"""Messages of 110 and the city over HTTP: signed, taken in once, returned by the exchange table, told back."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.cases import Case
from gis_grid.exchange import ExchangeMessage, ExchangeReceipt
from gis_grid.exchange_peers import Peer
from gis_grid.exchange_signing import sign
from gis_grid.installation import Installation
from gis_grid.reports import Report
from tests.api.sending import CALL, INSIDE
from tests.api.test_cases import Service
from tests.builders import NOW, bearer
from tests.case_builders import count
from tests.exchange_peer import KEY, LoopbackPeer, serving


@pytest.fixture
def service(installation: Installation, session: Session) -> Iterator[Service]:
    peer = Peer(url="http://127.0.0.1:1/x", key=KEY)
    installation.settings.exchange_peers = {"110": peer, "12345": peer}
    service = Service(installation, session)
    with service.client:
        yield service


def request(**changes: Any) -> dict[str, Any]:
    report = {
        "lon": INSIDE[0],
        "lat": INSIDE[1],
        "kind": "求助",
        "event_type": "E0102",
        "text": "路口堆满垃圾",
        "reporter": {"name": "韩梅梅", "phone": "10000000002"},
    }
    return {
        "id": str(uuid.uuid4()),
        "kind": "request",
        "sent_at": NOW.isoformat(),
        "reference": "110-20260302-7",
        "report": report | changes.pop("report", {}),
    } | changes


def post(service: Service, message: Any, *, peer: str = "110", key: str = KEY, **at: Any) -> Any:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    headers = sign(key, body, at=at.get("at", service.now)) | bearer("operator") | at.get("headers", {})
    return service.client.post(f"/api/v1/exchange/{peer}/messages", content=body, headers=headers)


def test_what_is_the_centres_becomes_a_filed_case_with_the_reference_kept(service: Service) -> None:
    answer = post(service, request())

    told = answer.json()
    case = service.get(f"/cases/{told['reference']}", who="operator").json()
    assert (answer.status_code, told["state"]) == (201, "received")
    assert (case["stage"], case["text"], case["reporter"]["phone"]) == ("filed", "路口堆满垃圾", "10000000002")
    came = case["log"][-1]["said"]
    assert (came["what"], came["peer"], came["reference"]) == ("came_from", "110", "110-20260302-7")
    assert service.get(f"/reports/{case['report_id']}").json()["properties"]["source"] == "110"


def test_a_case_of_the_citys_comes_from_12345(service: Service) -> None:
    told = post(service, request(), peer="12345").json()

    case = service.get(f"/cases/{told['reference']}", who="operator").json()
    assert service.get(f"/reports/{case['report_id']}").json()["properties"]["source"] == "12345"


def test_what_is_110s_by_the_table_goes_back_with_the_reason(service: Service, session: Session) -> None:
    kinds = [(True, "security"), (True, "none"), (False, "security"), (False, "none")]

    told = [post(service, request(is_police=is_police, alarm=alarm)).json() for is_police, alarm in kinds]

    assert [one["state"] for one in told] == ["returned", "returned", "returned", "received"]
    assert [one["reason"] is None for one in told] == [False, False, False, True]
    assert (count(session, Report), count(session, Case), count(session, ExchangeReceipt)) == (1, 1, 4)


def test_the_same_message_again_gets_the_same_answer(service: Service, session: Session) -> None:
    message = request()

    first, second = post(service, message), post(service, message, at=service.now + timedelta(minutes=2))

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert count(session, Case) == 1


def test_the_same_message_many_times_at_once_is_one_case(service: Service, session: Session) -> None:
    message = request()

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: post(service, message), range(6)))

    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.text for answer in answers}) == 1
    assert count(session, Case) == 1


def test_messages_may_come_in_any_order(service: Service) -> None:
    late, early = request(sent_at=(NOW - timedelta(hours=2)).isoformat()), request()

    states = [post(service, one).json()["state"] for one in (early, late)]

    assert states == ["received", "received"]


def test_the_same_id_with_another_body_is_a_conflict(service: Service, session: Session) -> None:
    message = request()
    post(service, message)

    answer = post(service, message | {"reference": "other"})

    assert (answer.status_code, count(session, Case)) == (409, 1)


def test_a_point_in_no_grid_is_kept_and_waits_to_be_placed(service: Service, session: Session) -> None:
    told = post(service, request(report={"lat": 31.2})).json()

    assert (told["state"], count(session, Case)) == ("received", 0)
    assert session.get(Report, uuid.UUID(told["reference"])) is not None


def test_what_the_content_forbids_is_refused_for_good(service: Service, session: Session) -> None:
    message = request(report={"event_type": "E9999"})

    first, second = post(service, message), post(service, message)

    assert (first.json()["state"], first.json()["reason"][:10]) == ("refused", "event_type")
    assert second.json() == first.json()
    assert count(session, Report) == 0


def test_what_is_no_message_is_named_and_kept_nowhere(service: Service, session: Session) -> None:
    bodies = [
        b"", b"[]", b"null", b"{}", b"\xff\xfe", b'{"kind": "request"}', b"[" * 5000,
        b'{"id": "x", "kind": "request"}',
        *(json.dumps(one).encode() for one in (
            request(extra=1),
            request(sent_at="2026-03-02T04:00:00"),
            request(sent_at="0001-01-01T00:00:00+16:00"),
            request(sent_at=1e400),
            request(report={"lon": "121.4"}),
            request(report={"lon": float("nan")}),
            request(report={"text": "a\0b"}),
            request(report={"text": "\ud800"}),
            request(reference=""),
        )),
    ]  # fmt: skip

    answers = {body: post(service, body).status_code for body in bodies}

    assert {body: status for body, status in answers.items() if status != 422} == {}
    assert count(session, ExchangeReceipt) == 0


def test_what_is_not_signed_with_the_peers_key_within_five_minutes_is_forbidden(
    service: Service, session: Session
) -> None:
    other_time = {"X-Exchange-Timestamp": str(int(NOW.timestamp()) + 1)}
    answers = [
        *(post(service, request(), at=service.now + timedelta(minutes=minutes)) for minutes in (-6, 6)),
        post(service, request(), key="x" * 32),
        post(service, request(), headers={"X-Exchange-Signature": "sha256=" + "0" * 64}),
        post(service, request(), headers=other_time),
        *(post(service, request(), headers=bearer(who)) for who in ("resident", "dispatcher")),
    ]

    assert [answer.status_code for answer in answers] == [403] * 7
    assert count(session, ExchangeReceipt) == 0


def test_a_peer_that_is_none_is_not_found(service: Service) -> None:
    assert [post(service, request(), peer=peer).status_code for peer in ("119", "x" * 300, "%00")] == [404] * 3


def test_a_call_that_is_for_110_waits_in_the_outbox(service: Service, session: Session) -> None:
    call = CALL | {"id": str(uuid.uuid4()), "is_police": True}

    for _ in range(2):
        assert service.post("/hotline/calls", call, who="operator").json()["desk"] == "110"

    (message,) = session.scalars(sa.select(ExchangeMessage))
    said = json.loads(message.body)
    assert (message.peer, message.state, said["is_police"]) == ("110", "pending", True)
    assert (said["reference"], said["report"]["text"]) == (call["id"], call["text"])
    assert said["report"]["reporter"] == {"name": "李雷", "phone": "10000000001"}


def test_a_call_that_is_refused_leaves_nothing_in_the_outbox(service: Service, session: Session) -> None:
    answer = service.post("/hotline/calls", CALL | {"is_police": True, "town": "310112101"}, who="operator")

    assert (answer.status_code, count(session, ExchangeMessage)) == (422, 0)


def test_ours_played_back_is_refused(service: Service, session: Session) -> None:
    service.post("/hotline/calls", CALL | {"is_police": True}, who="operator")
    (message,) = session.scalars(sa.select(ExchangeMessage))

    answer = post(service, message.body.encode())

    assert (answer.status_code, answer.json()["message"]) == (
        403, f"message {message.id} is one of ours; it cannot come from 110",
    )  # fmt: skip


def results(session: Session) -> list[dict[str, Any]]:
    rows = session.scalars(sa.select(ExchangeMessage).where(ExchangeMessage.kind == "result"))
    return [json.loads(row.body) for row in rows]


def test_whoever_sent_a_case_is_told_its_answer(service: Service, session: Session) -> None:
    message = request(report={"kind": "咨询"})
    case = {"serial": post(service, message).json()["reference"]}

    assert service.step(case, "operator", action="answer", text="周一办理", satisfaction="满意").status_code == 201

    (told,) = results(session)
    assert (told["about"], told["outcome"], told["text"]) == (message["id"], "answered", "周一办理")


def test_after_merging_both_who_sent_are_told(service: Service, session: Session) -> None:
    messages = [request(report={"kind": "咨询"}) for _ in range(3)]
    serials = [
        post(service, one, peer=peer).json()["reference"]
        for one, peer in zip(messages, ["110", "12345", "110"], strict=True)
    ]
    for one, other in ((serials[0], serials[1]), (serials[1], serials[2])):
        assert service.step({"serial": one}, "operator", action="merge", into=other).status_code == 201

    service.step({"serial": serials[2]}, "operator", action="answer", text="好", satisfaction="满意")

    assert sorted(told["about"] for told in results(session)) == sorted(one["id"] for one in messages)


def test_whoever_sent_a_case_that_is_void_has_it_back_with_the_reason(service: Service, session: Session) -> None:
    case = {"serial": post(service, request()).json()["reference"]}

    service.step(case, "supervisor", action="void", reason="不在本区")

    (told,) = results(session)
    assert (told["outcome"], told["text"]) == ("returned", "不在本区")


def test_what_comes_back_of_a_case_that_was_passed_up_is_in_its_log(service: Service, session: Session) -> None:
    case = service.case()
    passed = service.post(f"/cases/{case['serial']}/pass-up", {"reason": "市属道路"}, who="dispatcher")
    about = passed.json()["message"]
    result = {"id": str(uuid.uuid4()), "kind": "result", "sent_at": NOW.isoformat(), "about": about}

    # Before our own sender has heard that the city has it: answers overtake each other.
    told = post(service, result | {"outcome": "returned", "reference": "SH-1", "text": "区管"}, peer="12345").json()

    log = service.get(f"/cases/{case['serial']}", who="operator").json()["log"]
    assert (passed.status_code, told["state"]) == (201, "received")
    assert [(one["said"]["what"], one["said"].get("reference")) for one in log if one["action"] == "exchange"] == [
        ("passed_up", None), ("returned", "SH-1"),
    ]  # fmt: skip
    again = service.post(f"/cases/{case['serial']}/pass-up", {"reason": "补充照片"}, who="dispatcher")
    assert again.status_code == 201


def test_a_result_about_nothing_of_ours_is_refused(service: Service) -> None:
    result = {"id": str(uuid.uuid4()), "kind": "result", "sent_at": NOW.isoformat(), "about": str(uuid.uuid4())}

    told = post(service, result | {"outcome": "answered"}).json()

    assert (told["state"], "is no request of ours" in told["reason"]) == ("refused", True)


def test_who_may_transfer_a_case_may_pass_it_up(service: Service) -> None:
    cases = {who: service.case() for who in ("operator", "handler", "dispatcher", "supervisor")}

    statuses = [
        service.post(f"/cases/{case['serial']}/pass-up", {"reason": "x"}, who=who).status_code
        for who, case in cases.items()
    ]

    assert statuses == [403, 403, 201, 201]


def test_the_balance_of_a_day_has_counts_and_ids_and_nobodys_name(service: Service) -> None:
    post(service, request()), post(service, request(is_police=True))
    service.post("/hotline/calls", CALL | {"is_police": True}, who="operator")

    balance = service.get("/exchange/110/balance", who="operator", day="2026-03-02")

    body = balance.json()
    assert body["received"] == {"sent": 2, "pending": 0, "received": 1, "returned": 1, "refused": 0}
    assert body["sent"] == {"sent": 1, "pending": 1, "received": 0, "returned": 0, "refused": 0}
    assert (len(body["receipts"]), len(body["messages"])) == (2, 1)
    assert not any(private in balance.text for private in ("韩梅梅", "李雷", "10000000001"))


def test_the_differences_are_named_and_a_peer_that_is_away_is_told(
    service: Service, installation: Installation
) -> None:
    post(service, request())
    away = service.get("/exchange/110/differences", who="operator", day="2026-03-02")
    with serving(LoopbackPeer()) as address:
        installation.settings.exchange_peers = {"110": address}
        found = service.get("/exchange/110/differences", who="operator", day="2026-03-02").json()["differences"]

    assert away.status_code == 503
    assert [(one["sent_by"], one["there"]) for one in found] == [("110", None)]
