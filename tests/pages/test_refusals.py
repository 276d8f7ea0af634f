"""What the service refuses is told in Chinese on Chinese pages, and in English to whoever uses the API."""

import ast
import importlib
import re
import uuid
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field, ValidationError

import api
import gis_grid
from api.deps import Code, Filled, Finite, Instant, Plain
from api.errors import fields_of
from api.pages.language import COOKIE
from api.pages.refusals import MESSAGES, Template, books, in_chinese, template_of
from gis_grid.blindspots import BlindKind
from gis_grid.case_deciding import ANY_STEP
from gis_grid.case_state import CaseLevel, ClockName, Stage
from gis_grid.cases import Case
from gis_grid.clocks import LimitUnit
from gis_grid.errors import GridError
from gis_grid.evaluations import Direction
from gis_grid.geo.datum import InvalidLonLat, LonLat
from gis_grid.installation import Installation
from gis_grid.permissions import Permission, ReporterClass
from gis_grid.rewards import RewardStep
from gis_grid.routing import Urgency
from gis_grid.situations import SituationKind
from gis_grid.units import UnitKind
from tests.applications import application
from tests.builders import NOW, as_, bearer
from tests.pages.test_pages import token_of
from tests.stored_cases import Desk

SHANGHAI = timezone(timedelta(hours=8))
CHINESE = re.compile(r"[\u4e00-\u9fff]")
ROOTS = (Path(gis_grid.__file__).parent, Path(api.__file__).parent)

# Modules whose refusals no page leads to, and why.
OUT_OF_REACH = {
    "gis_grid.accounts": "accounts are kept on the command line",
    "gis_grid.assigning": "places files on the command line",
    "gis_grid.backup": "on the command line",
    "gis_grid.blocks": "loads blocks from files",
    "gis_grid.bulk_filing": "loads reports from files",
    "gis_grid.calendars": "loads calendars from files",
    "gis_grid.case_numbers": "loads the rules' numbers from files",
    "gis_grid.city": "reads the city file at the start",
    "gis_grid.cli": "is the command line",
    "gis_grid.clusters": "places files on a cluster",
    "gis_grid.database": "reads the database's address at the start",
    "gis_grid.dated": "loads dated rows from files",
    "gis_grid.embedded": "starts the database",
    "gis_grid.exchange_balance": "between systems",
    "gis_grid.exchange_fetching": "between systems",
    "gis_grid.exchange_peers": "reads the peers at the start",
    "gis_grid.exchange_receiving": "between systems",
    "gis_grid.exchange_signing": "between systems",
    "gis_grid.geo": "geography; `datum` and `track_chunks` alone judge what a page sends",
    "gis_grid.installation": "reads the settings at the start",
    "gis_grid.layer_changes": "layers change on the command line",
    "gis_grid.layers": "layers are loaded on the command line",
    "gis_grid.migrating": "on the command line",
    "gis_grid.outings": "outings are suggested on the command line",
    "gis_grid.report_exports": "on the command line",
    "gis_grid.report_fields": "loads reports from files",
    "gis_grid.report_files": "loads reports from files",
    "gis_grid.report_tables": "loads reports from files",
    "gis_grid.reward_rules": "loads rules from files",
    "gis_grid.score_weights": "loads rules from files",
    "gis_grid.settings": "reads the settings at the start",
    "gis_grid.shift_weeks": "loads shifts from files",
    "gis_grid.supervision_acts": "loads rules from files",
    "gis_grid.teams": "loads teams from files",
    "gis_grid.tenures": "loads managers from files",
    "gis_grid.unit_files": "loads units from files",
    "gis_grid.yearly_themes": "loads themes from files",
    "api.routers.exchange": "between systems",
}
IN_REACH = {"gis_grid.geo.datum", "gis_grid.geo.track_chunks"}
# Single messages that no page leads to, by their module and how they begin, and why.
LOADING = "a row of a file that is loaded"
RULES = "the city's rules, which are checked as they are loaded"
NOT_SHOWN = {
    ("api.pages.drawing", "basemap.datum: "): "the city file, read at the start",
    ("gis_grid.blindspots", "people: "): "a file on the command line",
    ("gis_grid.blindspots", "⟦⟧: seams need"): "a file on the command line",
    ("gis_grid.clocks", "⟦⟧: ⟦⟧ must be a date"): RULES,
    ("gis_grid.clocks", "office hours "): RULES,
    ("gis_grid.clocks", "pause "): "a program's own fault",
    ("gis_grid.clocks", "shares must "): RULES,
    ("gis_grid.clocks", "weekdays are "): RULES,
    ("gis_grid.clocks", "working time of "): "a program's own fault",
    ("gis_grid.evaluations", "weight "): LOADING,
    ("gis_grid.event_types", "⟦⟧ needs the columns "): LOADING,
    ("gis_grid.event_types", "⟦⟧: no rows"): LOADING,
    ("gis_grid.permissions", "⟦⟧ is not ROLE"): "roles are given on the command line",
    ("gis_grid.routing", "amount "): LOADING,
    ("gis_grid.routing", "event_type "): LOADING,
    ("gis_grid.routing", "unit "): LOADING,
    ("gis_grid.rules", "⟦⟧ needs ⟦⟧ beside it"): LOADING,
    ("gis_grid.seen_shares", "⟦⟧"): LOADING,
    ("gis_grid.seen_shares", "expected a valid polygon"): LOADING,
    ("gis_grid.seen_shares", "reason "): LOADING,
    ("gis_grid.seen_shares", "until "): LOADING,
    ("gis_grid.territory", "⟦⟧ is already loaded"): "layers are loaded on the command line",
    ("gis_grid.track_keeping", "days "): "on the command line",
    ("gis_grid.units", "no unit has these posts"): LOADING,
    ("gis_grid.units", "since is empty"): LOADING,
    ("gis_grid.units", "two hold one post"): LOADING,
}
PLACE = "⟦⟧"


class Raised(NamedTuple):
    """A message that a module's error is built with, `PLACE` for each value in it."""

    module: str
    line: int
    message: str


def modules() -> Iterator[tuple[str, ast.Module]]:
    for root in ROOTS:
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root.parent).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            above = {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
            if name in IN_REACH or not above & OUT_OF_REACH.keys():
                yield name, ast.parse(path.read_text("utf-8"))


def is_refusal(module: str, call: ast.Call) -> bool:
    """Whether a call makes an error of ours, or the ValueError by which a validator refuses a field."""
    if not isinstance(call.func, ast.Name):
        return False
    made = getattr(importlib.import_module(module), call.func.id, None)
    return call.func.id == "ValueError" or (isinstance(made, type) and issubclass(made, GridError))


def message_of(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(message_of(value) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return message_of(left) + message_of(right)
    return PLACE


def raised() -> Iterator[Raised]:
    """Every message with which the modules in reach build an error or say what makes a caller doubtful."""
    for module, tree in modules():
        for node in ast.walk(tree):
            match node:
                case ast.Call(args=[first, *_]) if is_refusal(module, node):
                    yield Raised(module, node.lineno, message_of(first))
                case ast.keyword(arg="doubt", value=said):
                    yield Raised(module, node.lineno, message_of(said))
                case ast.Call(func=ast.Attribute(attr="__init__"), args=[ast.JoinedStr() as said]):
                    yield Raised(module, node.lineno, message_of(said))


def is_shown(one: Raised) -> bool:
    # What another error said is passed on, and looked up as that.
    is_passed_on = one.message == PLACE
    return not is_passed_on and not any(
        one.module == module and one.message.startswith(begins) for module, begins in NOT_SHOWN
    )


def entry_of(message: str) -> Template | str | None:
    """What the catalogue has for a message with places: its places there are values, and no words of the message."""
    book = books()[MESSAGES]
    if message in book.whole:
        return book.whole[message]
    for template in book.templates:
        values = template.values_in(message)
        if values is not None:
            words = [value for value in values if re.search("[A-Za-z]", value)]
            return template if all(value in books()["field"].whole for value in words) else None
    return None


def test_every_refusal_that_a_page_leads_to_has_its_chinese() -> None:
    found = [one for one in raised() if is_shown(one)]

    lacking = [f"{one.module}:{one.line}: {one.message}" for one in found if entry_of(one.message) is None]
    assert len(found) > 200
    assert lacking == [], "write their Chinese into api/pages/locale/refusals.po"


def test_what_is_left_out_is_there() -> None:
    found = list(raised())

    for module in (*OUT_OF_REACH, *IN_REACH):
        importlib.import_module(module)
    for module, begins in NOT_SHOWN:
        assert any(one.module == module and one.message.startswith(begins) for one in found), (module, begins)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("stage", Stage),
        ("level", CaseLevel),
        ("clock", ClockName),
        ("urgency", Urgency),
        ("limit_unit", LimitUnit),
        ("permission", [permission.replace("_", " ") for permission in Permission]),
        ("unit_kind", UnitKind),
        ("direction", Direction),
        ("reporter_class", ReporterClass),
        ("reward_step", RewardStep),
        ("situation", SituationKind),
        ("spot", BlindKind),
    ],
)
def test_words_inside_messages_have_their_chinese(kind: str, words: Iterable[str]) -> None:
    assert [word for word in words if not CHINESE.search(books()[kind].whole.get(str(word), ""))] == []


def test_templates_tell_their_values_apart() -> None:
    for kind, book in books().items():
        for template in book.templates:
            assert all(template.literals[1:-1]), template
            assert kind != MESSAGES or sum(map(len, template.literals)) >= 8, template
            assert set(re.findall(r"\{(\w+)\}", template.chinese)) <= set(template.names), template
            assert CHINESE.search(template.chinese), template


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("case 26110012 is dispatched: close does not follow", "案件26110012已派遣，现在不能结案"),
        ("case without a serial number is accepted: dispatch does not follow", "该案件已受理，现在不能派遣"),
        ("user:li.wei handled this case, and who handles never checks", "li.wei处置过该案件，处置人不能核查"),
        ("closing needs disposal, check, answer first", "须先处置、核查、答复才能结案"),
        ("an attempt is the community's; this case is with the town", "先行处置由居村办理，该案件现由街镇办理"),
        (
            "after_photo: taken 2026-02-28T23:30:00+00:00, before the dispatch 2026-03-01T09:00:00+08:00",
            "照片摄于2026-03-01 07:30，早于派遣时间2026-03-01 09:00，请拍处置后的照片",
        ),
        ("user:li may not dispatch for what lies in no grid: it is out of their scope", "不在任何网格的事项不在li“派遣”的职责范围内"),
        ("event_type: 'E99' is not in the city's list of event types", "类型“E99”不在本市事件类型目录中"),
        ("a limit of 4 work_hours can only be extended in work_hours", "时限4个工作小时只能按工作小时延长"),
        ("drill 3 (消防) was ended by user:li: it cannot be ended now", "演练“消防”已由li结束，现在不能结束"),
        ("more than 20 anonymous reports from one address in 1:00:00", "同一网络地址1小时内最多匿名上报20次，请稍后再试"),
        ("photo: 12345678 bytes; at most 10485760 are taken", "照片有11.8 MB，最多10 MB"),
        ("photo: 8000 × 9000 pixels; at most 40000000 in all are taken", "照片8000×9000像素太大，总像素最多4000万"),
        ("Input should be 'pass' or 'fail'", "须为以下之一：pass、fail"),
        ("unit: there is no unit {unit}%s{0}", "未找到单位{unit}%s{0}"),
        ("nobody wrote this one down", None),
        ("case 1 is", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_refusal_is_told_with_its_values(english: str, chinese: str | None) -> None:
    assert in_chinese(english, zone=SHANGHAI) == chinese


def test_a_text_of_many_near_matches_is_read_once() -> None:
    template = template_of("{a} of {b} of {c} of {d} is none", "")

    assert template.values_in(" of" * 100_000) is None
    assert template.values_in(" of " * 100_000 + " is none") is not None


@pytest.mark.parametrize("pair", [("x", 1), (121.4, float("nan")), (31.1, 121.4), (200, 95), (1e400, 0)])
def test_what_is_no_place_is_told_in_chinese(pair: tuple[Any, Any]) -> None:
    with pytest.raises(InvalidLonLat) as refused:
        LonLat.checked(*pair)

    assert CHINESE.search(in_chinese(str(refused.value)) or "")


class Filling(BaseModel):
    """Fields such as our forms have."""

    text: Annotated[str, Field(min_length=2, max_length=5), Plain, Filled] = "abc"
    code: Code = "x"
    number: Annotated[int, Field(ge=1, le=9)] = 1
    share: Annotated[Finite, Field(gt=0, lt=1)] = 0.5
    at: Instant = NOW
    wall: datetime = NOW
    day: date = NOW.date()
    id: uuid.UUID = uuid.UUID(int=0)
    result: Literal["pass", "fail"] = "pass"
    is_urgent: bool = False
    some: Annotated[list[str], Field(min_length=1, max_length=2)] = Field(default=["x"])


WRONG: list[tuple[str, Any]] = [
    *[("text", text) for text in ("a", "abcdef", "a\0b", "   ", "a\ud800", 1, None)],
    *[("code", code) for code in ("ä", "", "x" * 41)],
    *[("number", number) for number in ("x", "", 0, 10, 1.5, None, "9" * 5000)],
    *[("share", share) for share in ("x", 0, 1, float("nan"), float("inf"), None)],
    *[("at", at) for at in ("x", "", "2026-03-01", "2026-03-01T08:00:00", "2200-01-01T00:00:00Z", 5, None)],
    *[("wall", at) for at in ("x", "2026-13-01T00:00:00Z", None)],
    *[("day", day) for day in ("x", "2026-13-01", "", None)],
    *[("id", text) for text in ("x", 1, None)],
    *[("result", result) for result in ("maybe", None)],
    *[("is_urgent", said) for said in ("x", None)],
    *[("some", some) for some in ([], ["a", "b", "c"], "x", None)],
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda one: repr(one)[:20])
def test_what_is_wrong_with_a_field_is_told_in_chinese(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        Filling.model_validate({field: value})

    faults = fields_of(refused.value.errors())
    assert [fault for fault in faults if not CHINESE.search(in_chinese(fault["message"]) or "")] == []


@pytest.mark.parametrize("step", [{}, {"action": "x"}, {"action": "check"}, {"action": "file", "more": 1}, 5])
def test_what_is_wrong_with_a_step_is_told_in_chinese(step: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        ANY_STEP.validate_python(step)

    faults = fields_of(refused.value.errors())
    assert [fault for fault in faults if not CHINESE.search(in_chinese(fault["message"]) or "")] == []


@pytest.fixture
def client(installation: Installation, desk: Desk) -> Iterator[TestClient]:
    with TestClient(application(installation, lambda: desk.at), raise_server_exceptions=False) as client:
        client.headers |= {"origin": "http://testserver"}
        yield client


def closing(client: TestClient, case: Case, **headers: str) -> Any:
    """The answer to a step that does not follow: closing a case that was only filed."""
    if client.cookies:
        page = client.get(f"/cases/{case.name}", headers={"accept": "text/html"}).text
        headers |= {"x-csrf-token": token_of(page)}
    return client.post(
        f"/api/v1/cases/{case.name}/steps", json={"action": "close", "expected_seq": case.seq}, headers=headers
    )


@pytest.mark.parametrize("language", ["zh-CN,zh;q=0.9,en;q=0.8", "", "fr"])
def test_a_chinese_page_is_refused_in_chinese(client: TestClient, desk: Desk, language: str) -> None:
    case = desk.filed()

    answer = closing(as_(client, "operator"), case, **{"accept-language": language})

    assert answer.status_code == 409
    assert answer.json()["message"] == "须先处置、核查、答复才能结案"
    assert (answer.headers["content-language"], answer.headers["cache-control"]) == ("zh-CN", "no-store")


def test_other_pages_and_callers_are_refused_in_english(client: TestClient, desk: Desk) -> None:
    case = desk.filed()
    english = "closing needs disposal, check, answer first"

    browser = closing(as_(client, "operator"), case, **{"accept-language": "en-GB,zh;q=0.5"})
    client.cookies.set(COOKIE, "en")
    chosen = closing(client, case)
    key = closing(as_(client, None), case, **bearer("operator"))
    no_page = closing(as_(client, "operator"), case, origin="")

    assert [answer.json()["message"] for answer in (browser, chosen, key)] == [english] * 3
    assert no_page.json()["message"] == "this request did not come from a page of ours"
    assert not any("content-language" in answer.headers for answer in (browser, chosen, key, no_page))


def test_each_field_is_told_in_chinese_and_their_line_too(client: TestClient) -> None:
    report = {"lon": 121.38, "text": "x" * 4001, "kind": "投诉", "event_type": "E01", "datum": "mars"}

    answer = client.post("/api/v1/reports", json=report)

    told = {fault["field"]: fault["message"] for fault in answer.json()["fields"]}
    assert told["lat"] == "必填"
    assert told["text"] == "最多4000个字"
    assert told["datum"].startswith("须为以下之一：wgs84、")
    assert "纬度：必填；" in answer.json()["message"]


def test_an_error_page_is_in_the_language_of_pages(client: TestClient) -> None:
    client.headers |= {"accept": "text/html"}

    chinese, english = client.get("/cases/26110012").text, client.get("/cases/26110012?lang=en").text

    assert "<p>未找到案件26110012</p>" in chinese
    assert "<p>there is no case 26110012</p>" in english


def test_a_body_over_its_limit_is_refused_in_chinese(client: TestClient) -> None:
    answer = client.post("/api/v1/reports", content=b"x" * 70_000)

    assert answer.status_code == 413
    assert answer.json()["message"] == "内容太大，最多64 KB"


def test_each_chunk_of_an_outing_is_refused_in_chinese(client: TestClient, desk: Desk) -> None:
    chunk = {"track": "a", "sequence": 0, "epoch_s": [1772424000], "lon": [31.1], "lat": [121.4]}
    as_(client, "patroller")
    page = client.get("/patrol", headers={"accept": "text/html"}).text

    answer = client.post("/api/v1/tracks", json={"chunks": [chunk, 1]}, headers={"x-csrf-token": token_of(page)})

    told = [result["message"] for result in answer.json()["results"]]
    assert told == ["经度31.1、纬度121.4颠倒了，请互换", "内容：提交的内容格式不对"]
