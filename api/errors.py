"""What an error of the domain is in HTTP; the only place that knows."""

import logging
from collections.abc import Sequence
from typing import Any

import sqlalchemy.exc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from api.pages.language import Language
from api.pages.refusals import faults_line, for_asker, is_for_a_chinese_page, told_problem
from gis_grid.duplicates import Likely
from gis_grid.errors import Conflict, Forbidden, GridError, InvalidInput, NotFound, Unavailable
from gis_grid.hotline import PossibleDuplicates
from gis_grid.rate_limits import TooMany
from gis_grid.sign_in import WrongPassword

STATUS: dict[type[GridError], int] = {
    NotFound: 404,
    InvalidInput: 422,
    Conflict: 409,
    Forbidden: 403,
    Unavailable: 503,
}
TITLES = {
    400: "bad_request",
    401: "sign_in_needed",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_input",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}
log = logging.getLogger("gis_grid")


class SignInNeeded(Forbidden):
    """Nobody has signed in, or with a token that does not count."""


def status_of(error: GridError) -> int:
    """The HTTP status of a domain error."""
    if isinstance(error, SignInNeeded | WrongPassword):
        return 401
    if isinstance(error, TooMany):
        return 429
    return next(status for kind, status in STATUS.items() if isinstance(error, kind))


def problem(status: int, message: str, *, fields: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    """The body of every error answer; it never repeats the input."""
    return {"error": TITLES.get(status, "error"), "message": message, "fields": list(fields)}


def _answer(request: Request, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    wants_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if wants_page and not request.url.path.startswith(("/api/", "/static/")):
        render = request.app.state.error_page
        page: Response = render(request, status, told_problem(request, body)["message"])
        page.headers.update(headers or {})
        return page
    if is_for_a_chinese_page(request):
        # Not kept by anybody on the way: others get the same in English.
        headers = {**(headers or {}), "Content-Language": Language.CHINESE.html_lang, "Cache-Control": "no-store"}
    return JSONResponse(for_asker(request, body), status, headers)


def fields_of(faults: Sequence[Any]) -> list[dict[str, str]]:
    """Which field is wrong and why, without the input: it may hold what JSON cannot."""
    return [{"field": _field(fault), "message": _message(fault)} for fault in faults]


def _field(fault: Any) -> str:
    where = [str(part) for part in fault["loc"]]
    if where and where[0] in {"query", "path", "header"}:
        return _printable(where[1])
    inside = where[1:] if where and where[0] == "body" else where
    return _printable(".".join(inside)) if inside and fault["type"] != "json_invalid" else "body"


def _message(fault: Any) -> str:
    if fault["type"] in {"model_type", "model_attributes_type"}:
        return "expected a JSON object"
    return _printable(str(fault["msg"]).removeprefix("Value error, "))


def problem_of(error: GridError) -> dict[str, Any]:
    """The body of the answer to a domain error."""
    message = _printable(str(error))
    named = error.fields if isinstance(error, InvalidInput) else ()
    more = {"likely": likely_json(error.likely)} if isinstance(error, PossibleDuplicates) else {}
    return more | problem(status_of(error), message, fields=[{"field": field, "message": message} for field in named])


def problem_of_faults(faults: Sequence[Any]) -> dict[str, Any]:
    """The body of the answer to input that is not of its form."""
    fields = fields_of(faults)
    return problem(422, faults_line(fields), fields=fields)


def refusal_of(error: GridError | ValidationError) -> dict[str, Any]:
    """What is answered for one of many things that came together: its status, and the body that it would get alone."""
    if isinstance(error, GridError):
        return {"status": status_of(error), **problem_of(error)}
    return {"status": 422, **problem_of_faults(error.errors(include_input=False, include_url=False))}


def likely_json(likely: Sequence[Likely]) -> list[dict[str, Any]]:
    """Cases that are likely the same thing, by name: they may lie where the asker sees no texts."""
    return [{"case": one.case.name, "stage": one.case.stage, "distance_m": one.distance_m} for one in likely]


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")[:500]


def install(app: FastAPI) -> None:
    """Answer every error with its status and a body of one form."""

    @app.exception_handler(GridError)
    def _(request: Request, error: GridError) -> Response:
        status = status_of(error)
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        if isinstance(error, TooMany):
            headers = {"Retry-After": str(error.retry_after_s)}
        return _answer(request, status, problem_of(error), headers)

    @app.exception_handler(RequestValidationError)
    def _(request: Request, error: RequestValidationError) -> Response:
        return _answer(request, 422, problem_of_faults(error.errors()))

    @app.exception_handler(HTTPException)
    def _(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers) if error.headers else None
        return _answer(request, error.status_code, problem(error.status_code, _printable(str(error.detail))), headers)

    @app.exception_handler(sqlalchemy.exc.OperationalError)
    def _(request: Request, error: sqlalchemy.exc.OperationalError) -> Response:
        log.error("database unavailable: %s", error.orig)
        return _answer(request, 503, problem(503, "the database does not answer; try again in a moment"))

    @app.exception_handler(Exception)
    def _(request: Request, error: Exception) -> Response:
        log.error("request %s failed", request.scope.get("request_id"), exc_info=error)
        return _answer(request, 500, problem(500, "something went wrong here; it has been logged"))
