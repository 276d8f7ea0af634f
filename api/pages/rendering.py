"""Pages out of templates: words, dates, and the headers that keep a browser safe."""

from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.orm import Session
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.deps import SESSION_COOKIE, View, view_of
from api.pages import language as languages
from api.pages.language import Language, language_of, translate
from api.pages.static_files import static_url
from api.pages.words import NAMES
from gis_grid.city import City
from gis_grid.installation import Installation
from gis_grid.permissions import Caller, Permission
from gis_grid.supervision import count_unread
from maps.styles import format_area

HERE = Path(__file__).parent
YEAR_S = 365 * 86_400
UNREAD_SHOWN = 99

# Nothing but our own files; styles set from scripts are no inline styles to a browser.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
# Folium writes a map's script into its page. Such a page holds no form and talks to nobody.
SHEET_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:{tiles}; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)


def page(
    request: Request,
    template: str,
    *,
    caller: Caller,
    view: View | None = None,
    status: int = 200,
    **values: object,
) -> HTMLResponse:
    """A whole page in the asker's language; `view` is how they see what it shows, where that lies in one place."""
    language = language_of(request)
    installation: Installation = request.app.state.installation
    city = installation.city
    text = (
        _environment(language)
        .get_template(template)
        .render(
            language=language,
            other_language_url=_in_language(request, language.other),
            city=city,
            city_name=city_name(city, language),
            caller=caller,
            view=view or view_of(caller),
            may_place=caller.may(Permission.PLACE_REPORT),
            takes_calls=caller.may(Permission.ACCEPT),
            sees_assessment=caller.has(Permission.SEE_ASSESSMENT),
            may_refer=caller.has(Permission.REFER),
            settles_rewards=caller.has(Permission.SETTLE_REWARD),
            unread=_unread(request, caller),
            may_patrol=caller.has(Permission.SEND_TRACK),
            csrf=None if caller.is_anonymous else installation.form_token(request.cookies.get(SESSION_COOKIE, "")),
            path=request.url.path,
            situations_on=lambda: getattr(request.state, "situations", ()),
            when=lambda at: f"{at.astimezone(city.zone):%Y-%m-%d %H:%M}",
            day=lambda at: f"{at.astimezone(city.zone):%Y-%m-%d}",
            **values,
        )
    )
    response = HTMLResponse(text, status)
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    response.headers["Vary"] = "Accept-Language, Cookie"
    response.headers["Cache-Control"] = "private, no-cache" if caller.is_anonymous else "no-store"
    if languages.chosen(request):
        response.set_cookie(languages.COOKIE, language.value, max_age=YEAR_S, samesite="lax", httponly=True)
    return response


def _unread(request: Request, caller: Caller) -> int | None:
    """How many notices wait to be read; None for who is told none, and on a page that asks nothing of the database."""
    session: Session | None = getattr(request.state, "session", None)
    if session is None or caller.is_key or not caller.has(Permission.SEE_REPORT_DETAILS):
        return None
    return count_unread(session, caller, now=request.app.state.clock(), most=UNREAD_SHOWN + 1)


def sheet(text: str, *, city: City, caller: Caller) -> HTMLResponse:
    """A map on its own, to stand in a frame of a page."""
    response = HTMLResponse(text)
    tiles = f" {_origin(city.basemap.url)}" if city.basemap else ""
    response.headers["Content-Security-Policy"] = SHEET_POLICY.format(tiles=tiles)
    response.headers["Vary"] = "Cookie"
    response.headers["Cache-Control"] = "private, no-cache" if caller.is_anonymous else "no-store"
    return response


def city_name(city: City, language: Language) -> str:
    """The city's name in a language."""
    return city.name if language is Language.CHINESE else city.name_en


def say(request: Request, message: str, **values: object) -> str:
    """A message in the asker's language."""
    return translate(language_of(request), message, **values)


def _in_language(request: Request, language: Language) -> str:
    url = request.url.include_query_params(lang=language.value)
    return f"{url.path}?{url.query}"


def _origin(url: str) -> str:
    """Where tiles come from, as a content policy names it; `{s}` stands for any subdomain."""
    parts = urlsplit(url.replace("{s}", "*"))
    return f"{parts.scheme}://{parts.netloc}"


@cache
def _environment(language: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(**languages.gettext_for(language), newstyle=True)  # type: ignore[attr-defined]
    environment.filters |= {
        "area": format_area,
        "word": lambda word: translate(language, str(NAMES.get(word, word))),
        "thousands": lambda number: f"{number:,}",
    }
    environment.globals |= {"static": static_url, "script_messages": lambda: languages.script_messages(language)}
    return environment


class SafeHeaders:
    """ASGI middleware: headers that every answer carries, pages, files and JSON alike."""

    HEADERS: Mapping[str, str] = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "X-Frame-Options": "SAMEORIGIN",
        "Permissions-Policy": "geolocation=(self), camera=(self), microphone=()",
    }

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, adding to what is sent back."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/static/"):
                    # Asked again each time, answered by a 304: a file may be replaced while the service runs.
                    headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


def day_span(first: date, last: date, city: City) -> tuple[datetime, datetime]:
    """The instants [since, until) of whole days on the city's clock, both ends included."""
    until = date.fromordinal(last.toordinal() + 1)
    return datetime.combine(first, datetime.min.time(), city.zone), datetime.combine(
        until, datetime.min.time(), city.zone
    )
