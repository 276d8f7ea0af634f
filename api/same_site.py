"""Whether a request that a cookie speaks for was meant: it comes from a page of ours and carries that page's token."""

import hmac
from urllib.parse import urlsplit

from fastapi import Request

FORM_FIELD, HEADER = "csrf", "x-csrf-token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
DEFAULT_PORT = {"http": 80, "https": 443}


def is_from_our_page(request: Request) -> bool:
    """Whether Origin, or Referer where a browser sends none, names the host that was asked.

    The scheme is not compared: a proxy that ends TLS and is not trusted hides it.
    """
    said = request.headers.get("origin") or request.headers.get("referer")
    asked = request.headers.get("host", "")
    if not said or not asked:
        return False
    try:
        parts = urlsplit(said)
        ours = urlsplit(f"{parts.scheme}://{asked}")
        ports = parts.port, ours.port
    except ValueError:
        return False
    theirs, our = (port or DEFAULT_PORT.get(parts.scheme) for port in ports)
    return parts.scheme in DEFAULT_PORT and (parts.hostname, theirs) == (ours.hostname, our)


async def form_token_sent(request: Request) -> str | None:
    """The form token of an unsafe request, from its header or the field of its form."""
    if request.method in SAFE or request.headers.get("authorization") is not None:
        return None
    if (sent := request.headers.get(HEADER)) is not None:
        return sent
    if request.headers.get("content-type", "").lower().startswith(FORMS) and request.cookies:
        value = (await request.form()).get(FORM_FIELD)
        return value if isinstance(value, str) else None
    return None


def is_same(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass"))
