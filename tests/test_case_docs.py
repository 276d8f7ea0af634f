"""The case that the documentation tells runs as it is told, and its tables are what the program does."""

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from api.app import create_app
from gis_grid.case_deciding import ACTIONS, AnyStep
from gis_grid.cli import app
from gis_grid.cli.options import out
from gis_grid.clocks import change_instants, parse_limit
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.installation import Installation
from gis_grid.permissions import POWERS, Grant, Permission, Role
from gis_grid.rules import calendar_at, thresholds_at
from tests.builders import NOW, add_signed_in, bearer
from tests.case_builders import jpeg
from tests.stored_cases import INSIDE

PAGE = (Path(__file__).parents[1] / "docs" / "cases.md").read_text(encoding="utf-8")
ZONE = ZoneInfo("Asia/Shanghai")
EXCHANGE = re.compile(r"# (\w+), (.+)\n(GET|POST) (\S+)\n(.*?)→ (\d+)\n(.*)", re.DOTALL)


@pytest.fixture
def template(furnished: str) -> str:
    return furnished


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def table(first: str) -> list[list[str]]:
    """The rows of the table whose heading begins so, as plain texts."""
    text = PAGE[PAGE.index(f"| {first} ") :].split("\n\n")[0]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def differences(shown: Any, given: Any, known: dict[str, str]) -> list[str]:
    """What an answer shown has otherwise than the answer given; `<name>` stands for what is to be remembered."""
    if isinstance(shown, dict):
        return [fault for name, value in shown.items() for fault in differences(value, (given or {}).get(name), known)]
    if isinstance(shown, list):
        pairs = zip(shown, given, strict=len(shown) == len(given))
        return [fault for one, other in pairs for fault in differences(one, other, known)]
    if isinstance(shown, str) and (named := re.fullmatch("<(.+)>", shown)):
        known[named[1]] = given
        return []
    is_same = given == pytest.approx(shown, abs=0.05) if isinstance(shown, float) else given == shown
    return [] if is_same else [f"{shown!r} is {given!r}"]


def test_the_case_told_runs_as_it_is_told(
    installation: Installation,
    session: Session,
    cluster: EmbeddedPostgis,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for role in Role:
        add_signed_in(session, role.value, [Grant(role)])
    clock: list[datetime] = [NOW]
    known: dict[str, str] = {}
    faults = []
    with TestClient(create_app(installation, clock=lambda: clock[0])) as client:
        for block in blocks("http"):
            found = EXCHANGE.fullmatch(block)
            assert found, block
            who, at, method, path, body, status, shown = found.groups()
            clock[0] = datetime.fromisoformat(at).replace(tzinfo=ZONE).astimezone(UTC)
            for name, value in known.items():
                path, body = path.replace(f"<{name}>", value), body.replace(f"<{name}>", value)
            sent: dict[str, Any] = {"content": body.encode(), "headers": {"Content-Type": "application/json"}}
            if body.startswith("photo="):
                data = jpeg(
                    lon=INSIDE.lon, lat=INSIDE.lat, taken=clock[0].astimezone(ZONE).strftime("%Y:%m:%d %H:%M:%S")
                )
                sent = {"files": {"photo": ("after.jpg", io.BytesIO(data))}, "headers": {}}
            sent["headers"] |= bearer(who) if who in set(Role) else {}
            answer = client.request(method, path, **sent)
            if answer.status_code != int(status):
                faults.append(f"{path} {answer.status_code}: {answer.text}")
                continue
            faults += [f"{path}: {fault}" for fault in differences(json.loads(shown), answer.json(), known)]

    assert faults == []
    monkeypatch.setenv("GIS_GRID_DATABASE_URL", cluster.url(database, role="gis_grid_app"))
    monkeypatch.setenv("GIS_GRID_OWNER_DATABASE_URL", cluster.url(database))
    monkeypatch.setenv("GIS_GRID_DATA", str(installation.settings.data / "cli"))
    monkeypatch.setattr(out, "_width", 200)
    for block in blocks("console"):
        command, _, said = block.partition("\n")
        result = CliRunner().invoke(app, command.removeprefix("$ gis-grid ").split())
        output = result.output.replace(f"{known['after_photo'][:60]} …", "<after_photo>")
        lines = [line.rstrip() for line in output.splitlines()]
        assert lines == [line.rstrip() for line in said.splitlines()], command


def test_the_table_of_steps_is_what_the_steps_are() -> None:
    told = {row[0]: row[1:4] for row in table("step")}
    found = {}
    for step in get_args(get_args(AnyStep)[0]):
        (action,) = get_args(step.model_fields["action"].annotation)
        roles = [role.value for role in Role if Permission(ACTIONS[action]) in POWERS[role]]
        needs = [
            name if field.is_required() else f"{name}?"
            for name, field in step.model_fields.items()
            if name not in {"action", "expected_seq"}
        ]
        stages = sorted(stage.value for stage in step.STAGES)
        found[action] = [", ".join(roles), stages, ", ".join(needs)]
    opened = ["accepted", "filed", "dispatched", "taken", "returned", "handled", "rework", "checked", "answered"]
    words = {"open": opened, "filed and open": opened[1:]}
    read = {
        action: [roles, sorted(words.get(stages, stages.split(", "))), needs]
        for action, (roles, stages, needs) in told.items()
    }

    assert read == found


def test_the_worked_lights_come_on_when_they_are_said_to(session: Session) -> None:
    calendar, thresholds = calendar_at(session, ZONE, at=NOW), thresholds_at(session, at=NOW)

    def instant(text: str) -> datetime:
        return datetime.fromisoformat(text.split(" ", 1)[1]).replace(tzinfo=ZONE)

    wrong = []
    for limit, start, *shown in table("limit"):
        found = change_instants(instant(start), parse_limit(limit), calendar, thresholds)
        if list(found) != [instant(text) for text in shown]:
            local = [at.astimezone(ZONE).strftime("%a %Y-%m-%d %H:%M:%S") for at in found if at]
            wrong.append((limit, start, local))

    assert wrong == []
