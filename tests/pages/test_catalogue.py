"""One catalogue holds the English of every message of templates, code and scripts."""

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir

import api.pages
from api.pages.language import Language, catalogue, english, script_messages, translate
from gis_grid.reports import Kind, Source

PAGES = Path(api.pages.__file__).parent
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2"), ("static/**.js", "javascript")]
KEYWORDS = {"_": None, "gettext": None, "message": None, "t": None, "say": (2,)}
PLACES = re.compile(r"%\(\w+\)s|\{\w+\}")


def said() -> dict[str, set[str]]:
    """Every message by the files that say it."""
    found: dict[str, set[str]] = {}
    for file, _, message, *_ in extract_from_dir(PAGES, METHODS, {"**": {"encoding": "utf-8"}}, keywords=KEYWORDS):
        found.setdefault(str(message), set()).add(file)
    return found


def test_every_message_has_its_english_and_no_english_is_left_over() -> None:
    assert set(said()) == set(english())


def test_what_scripts_say_is_handed_to_scripts() -> None:
    by_scripts = {message for message, files in said().items() if any(file.endswith(".js") for file in files)}

    assert by_scripts
    assert set(script_messages(Language.ENGLISH)) == by_scripts
    assert script_messages(Language.CHINESE) == {}


def test_every_message_keeps_its_places_to_fill() -> None:
    wrong = [
        str(entry.id)
        for entry in catalogue()
        if sorted(PLACES.findall(str(entry.id))) != sorted(PLACES.findall(str(entry.string)))
    ]

    assert wrong == []


def test_no_english_is_chinese() -> None:
    assert [text for text in english().values() if re.search(r"[\u4e00-\u9fff，。：]", text)] == []


@pytest.mark.parametrize("word", [*(kind.value for kind in Kind), *(source.value for source in Source)])
def test_every_kind_and_source_has_a_name_in_both_languages(word: str) -> None:
    from api.pages.words import NAMES

    chinese = str(NAMES.get(word, word))

    assert re.search(r"[\u4e00-\u9fff]|110", chinese)
    assert chinese in english()


def test_no_script_says_chinese_outside_the_catalogue() -> None:
    known = set(english()) | {kind.value for kind in Kind}
    strings = [
        (path.name, text)
        for path in PAGES.glob("static/*.js")
        for text in re.findall(r'"([^"\n]*[\u4e00-\u9fff][^"\n]*)"', path.read_text("utf-8"))
    ]

    assert strings
    assert [(name, text) for name, text in strings if text not in known] == []


def test_a_message_is_filled_in_both_languages() -> None:
    assert translate(Language.CHINESE, "%(city)s网格", city="闵行区") == "闵行区网格"
    assert translate(Language.ENGLISH, "%(city)s网格", city="Minhang") == "Minhang grids"
