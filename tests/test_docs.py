"""What the documentation shows is what the program does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from gis_grid.city import City, load_city
from gis_grid.installation import Installation
from tests.builders import NOW

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md")])


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def test_the_command_line_page_is_what_the_commands_say_of_themselves() -> None:
    words = ["-m", "typer", "gis_grid.cli", "utils", "docs", "--name", "gis-grid", "--title", "Command line"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True, cwd=ROOT)

    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").strip() == done.stdout.strip()


def test_the_example_report_is_accepted_and_answered_with_the_fields_shown(installation: Installation) -> None:
    sent, answer = (json.loads(block.replace("…", "x")) for block in blocks(ROOT / "docs" / "api.md", "json")[:2])
    sent["observed_at"] = "2026-03-01T08:15:00+08:00"

    given = TestClient(create_app(installation, clock=lambda: NOW)).post("/api/v1/reports", json=sent)

    assert given.status_code == 201, given.text
    assert given.json().keys() == answer.keys()


def test_the_example_city_has_only_keys_that_a_city_has(tmp_path: Path) -> None:
    (text,) = blocks(ROOT / "docs" / "data.md", "toml")
    for name in re.findall(r'"([^"]+\.(?:geojson|gpkg|csv))"', text):
        (tmp_path / name).touch()
    (tmp_path / "rules").mkdir()
    path = tmp_path / "city.toml"
    path.write_text(text, encoding="utf-8")

    city = load_city(path)

    assert isinstance(city, City)
    assert city.hotline == "311"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []
