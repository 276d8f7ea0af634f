"""The page of an error, in both languages."""

from fastapi import Request
from fastapi.responses import HTMLResponse

from api.pages.rendering import page
from api.pages.words import FAULT, FAULTS
from gis_grid.permissions import ANONYMOUS


def error_page(request: Request, status: int, message: str) -> HTMLResponse:
    """What went wrong, in words, and the way on; asks nothing of the database."""
    return page(
        request,
        "error.html",
        caller=ANONYMOUS,
        status=status,
        code=status,
        title=FAULTS.get(status, FAULT),
        message=message,
        back=request.url.path,
    )
