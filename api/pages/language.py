"""The two languages of the pages, through one message catalogue.

The messages in templates and code are the Chinese ones; `locale/en.po` holds the English. The catalogue is read as it
lies, so that nothing has to be compiled after a change. What the service refuses is the other way round: English
in the code, its Chinese in `locale/refusals.po`, see `api.pages.refusals`.
"""

from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from fastapi import Request

LOCALE = Path(__file__).parent / "locale"
COOKIE = "gis_grid_lang"
PARAMETER = "lang"


class Language(StrEnum):
    """A language of the pages."""

    CHINESE = "zh"
    ENGLISH = "en"

    @property
    def html_lang(self) -> str:
        """The language tag of a page."""
        return "zh-CN" if self is Language.CHINESE else "en"

    @property
    def other(self) -> "Language":
        """The one to switch to."""
        return Language.ENGLISH if self is Language.CHINESE else Language.CHINESE


def chosen(request: Request) -> Language | None:
    """The language that the address asks for; None where it names none."""
    return _known(request.query_params.get(PARAMETER))


def language_of(request: Request) -> Language:
    """The address decides, else the cookie, else the browser; Chinese where none of them tells."""
    return (
        chosen(request)
        or _known(request.cookies.get(COOKIE))
        or _preferred(request.headers.get("accept-language", ""))
        or Language.CHINESE
    )


def _known(name: str | None) -> Language | None:
    return next((language for language in Language if language.value == name), None)


def _preferred(header: str) -> Language | None:
    """The first of our languages in an Accept-Language header, by its weight."""
    wanted = []
    for place, part in enumerate(header[:500].split(",")):
        tag, _, weight = part.strip().partition(";q=")
        wanted.append((-_weight(weight), place, tag[:2].lower()))
    return next((language for _, _, tag in sorted(wanted) if (language := _known(tag))), None)


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


def translate(language: Language, message: str, **values: object) -> str:
    """The message in a language, its `%(name)s` filled in; the Chinese one where there is no other."""
    text = message if language is Language.CHINESE else english().get(message, message)
    return text % values if values else text


@cache
def english() -> MappingProxyType[str, str]:
    """The English of each Chinese message."""
    return MappingProxyType({str(entry.id): str(entry.string) for entry in catalogue() if entry.id and entry.string})


def script_messages(language: Language) -> dict[str, str]:
    """What the browser's scripts say, by their Chinese message; nothing for Chinese itself."""
    if language is Language.CHINESE:
        return {}
    said = (entry for entry in catalogue() if any(place.endswith(".js") for place, _ in entry.locations))
    return {str(entry.id): str(entry.string) for entry in said if entry.string}


@cache
def catalogue() -> Catalog:
    """The English catalogue as it lies on disk."""
    with (LOCALE / "en.po").open("rb") as file:
        return read_po(file, locale="en")


def gettext_for(language: Language) -> dict[str, Any]:
    """What Jinja's i18n extension calls."""
    return {
        "gettext": lambda message: translate(language, message),
        "ngettext": lambda one, many, n: translate(language, one if n == 1 else many),
    }
