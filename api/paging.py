"""Pages that hold still while rows come in: a token names the last row of a page."""

import base64
import binascii
import json
from datetime import datetime

from fastapi import Request

from gis_grid.errors import InvalidInput
from gis_grid.instants import as_utc


def page_token(at: datetime, key: str) -> str:
    """The token of a row by its time and its key."""
    return base64.urlsafe_b64encode(json.dumps([at.isoformat(), key]).encode()).decode().rstrip("=")


def read_token(token: str) -> tuple[datetime, str]:
    """Time and key of the row that a token names.

    Raises
    ------
    InvalidInput
        Not a token of ours.
    """
    try:
        at, key = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return as_utc(datetime.fromisoformat(at)), str(key)
    except (ValueError, TypeError, AttributeError, binascii.Error, InvalidInput):
        raise bad_token() from None


def bad_token() -> InvalidInput:
    """What is said of a token that is none."""
    return InvalidInput("after: not the `next` of an earlier page", fields=("after",))


def next_links(request: Request, token: str | None) -> dict[str, object]:
    """`next` and `links` of a page, without scheme and host, which behind a proxy are not those the asker used."""
    if token is None:
        return {"next": None, "links": []}
    href = f"{request.url.path}?{request.url.include_query_params(after=token).query}"
    return {"next": token, "links": [{"rel": "next", "href": href}]}
