"""What the service refuses, in the language of the page that asked.

A refusal is written in English beside the rule that it tells of, and so callers of the API read it. Here, at the edge,
`locale/refusals.po` gives its Chinese: templates with named places, of which the one with the most words of its own
counts. What a place is called says how its value is told: `{at}` on the city's clock, `{stage}` by its name on a page.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Any, NamedTuple

from babel.messages.pofile import read_po
from fastapi import Request

from api.pages.case_words import ACTIONS, LIMIT_UNITS, STAGES, VALUES
from api.pages.language import LOCALE, Language, language_of
from api.pages.supervision_words import CAUSES, DIRECTIONS, REPORTER_CLASSES
from api.pages.words import NAMES
from api.same_site import is_from_our_page

KIB, MIB = 1024, 1024 * 1024
MESSAGES = ""
WORDS: Mapping[str, Mapping[Any, str]] = {
    "action": ACTIONS,
    "asks": VALUES,
    "cause": CAUSES,
    "clock": VALUES,
    "direction": DIRECTIONS,
    "limit_unit": LIMIT_UNITS,
    "peer": NAMES,
    "reporter_class": REPORTER_CLASSES,
    "stage": STAGES,
    "urgency": VALUES,
}


class Template(NamedTuple):
    """A message with places: `literals` are the words around the `names`, one more than those."""

    literals: tuple[str, ...]
    names: tuple[str, ...]
    chinese: str

    def values_in(self, text: str) -> list[str] | None:
        """What stands in the places of a text, None where it is another one.

        Each literal is looked for once, from where the one before it ended: no text takes longer than its length.
        """
        first, *between, last = self.literals
        end = len(text) - len(last)
        if not (text.startswith(first) and text.endswith(last)) or end < len(first):
            return None
        values, at = [], len(first)
        for literal in between:
            found = text.find(literal, at, end)
            if found < 0:
                return None
            values.append(text[at:found])
            at = found + len(literal)
        return [*values, text[at:end]]


@dataclass(frozen=True)
class Book:
    """Chinese by English: of whole texts, and of templates, those with the most words of their own first."""

    whole: Mapping[str, str]
    templates: Sequence[Template]


def template_of(english: str, chinese: str) -> Template:
    """The template that a message with `{names}` is."""
    parts = re.split(r"\{(\w+)\}", english)
    return Template(tuple(parts[::2]), tuple(parts[1::2]), chinese)


@cache
def books() -> Mapping[str, Book]:
    """What the catalogue holds: the messages, and by their kind the words and names inside them."""
    with (LOCALE / "refusals.po").open("rb") as file:
        entries = [entry for entry in read_po(file) if entry.id and entry.string]
    kinds = {entry.context or MESSAGES for entry in entries} | set(WORDS)
    return {
        kind: _book(
            {str(word): said for word, said in WORDS.get(kind, {}).items()}
            | {str(entry.id): str(entry.string) for entry in entries if (entry.context or MESSAGES) == kind}
        )
        for kind in kinds
    }


def _book(chinese: Mapping[str, str]) -> Book:
    templates = [template_of(english, said) for english, said in chinese.items() if "{" in english]
    templates.sort(key=lambda one: -sum(map(len, one.literals)))
    return Book({english: said for english, said in chinese.items() if "{" not in english}, templates)


def in_chinese(text: str, *, zone: tzinfo = UTC, kind: str = MESSAGES) -> str | None:
    """The Chinese of a refusal, or of a word of some kind inside one; None where the catalogue has none.

    Parameters
    ----------
    zone
        Of the clock on which times are told.
    """
    book = books().get(kind)
    if book is None:
        return None
    if (whole := book.whole.get(text)) is not None:
        return whole
    for template in book.templates:
        values = template.values_in(text)
        if values is not None:
            told = {name: _told(name, value, zone) for name, value in zip(template.names, values, strict=True)}
            return template.chinese.format_map(told)
    return None


def _told(name: str, value: str, zone: tzinfo) -> str:
    """A value as the place that it stands in is called; a number after the name tells places of one kind apart."""
    kind = name.rstrip("0123456789")
    if (word := in_chinese(value, zone=zone, kind=kind)) is not None:
        return word
    if kind in LISTS:
        return "、".join(in_chinese(one, kind=kind) or one for one in value.split(", "))
    if kind == "at":
        return _on_the_clock(value, zone)
    return TELLERS.get(kind, _quoted)(value)


def _on_the_clock(text: str, zone: tzinfo) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}" if at.tzinfo else text


def _size(count: str) -> str:
    if not count.isdecimal():
        return count
    return f"{round(int(count) / MIB, 1):g} MB" if int(count) >= MIB else f"{int(count) // KIB} KB"


def _pixels(count: str) -> str:
    return f"{int(count) // 10_000}万" if count.isdecimal() else count


def _quoted(text: str) -> str:
    """A text that `repr` wrote, between marks of ours; others as they are."""
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return f"“{text[1:-1]}”" if is_quoted else text


LISTS = frozenset({"limit_unit", "list", "need"})
TELLERS: Mapping[str, Callable[[str], str]] = {
    "bytes": _size,
    "choices": lambda text: re.sub(r"', '|' or '", "、", text),
    "pixels": _pixels,
    "who": lambda who: who.partition(":")[2] or who,
}


def told(request: Request, message: str) -> str:
    """A refusal as a page in the asker's language tells it; in English what has no Chinese."""
    if language_of(request) is not Language.CHINESE:
        return message
    return in_chinese(message, zone=_zone(request)) or message


def told_faults(request: Request, fields: Iterable[Mapping[str, str]]) -> str:
    """The faults of a form in one line, as a page in the asker's language tells them."""
    if language_of(request) is not Language.CHINESE:
        return faults_line(fields)
    named = ((in_chinese(one["field"], kind="field") or one["field"], told(request, one["message"])) for one in fields)
    return "；".join(f"{field}：{message}" for field, message in named)


def faults_line(fields: Iterable[Mapping[str, str]]) -> str:
    """The faults of a form in one line of English."""
    return "; ".join(f"{one['field']}: {one['message']}" for one in fields)[:2000]


def is_for_a_chinese_page(request: Request) -> bool:
    """Whether a page of ours in Chinese asks; whoever brings a token of their own is no page."""
    is_page = request.headers.get("authorization") is None and is_from_our_page(request)
    return is_page and language_of(request) is Language.CHINESE


def for_asker(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    """The body of an error answer: in Chinese for a Chinese page of ours, else as it is."""
    return told_problem(request, body) if is_for_a_chinese_page(request) else body


def told_problem(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    """The body of an error answer as a page in the asker's language tells it."""
    fields = body["fields"]
    is_line = bool(fields) and body["message"] == faults_line(fields)
    message = told_faults(request, fields) if is_line else told(request, body["message"])
    return body | {"message": message, "fields": [one | {"message": told(request, one["message"])} for one in fields]}


def _zone(request: Request) -> tzinfo:
    zone: tzinfo = request.app.state.installation.city.zone
    return zone
