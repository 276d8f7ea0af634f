"""Limits on what a request may send, and a number for each request."""

import json
import re
import uuid

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.pages.refusals import for_asker

KIB, MIB = 1024, 1024 * 1024
DEFAULT_BYTES = 64 * KIB
LIMITS = (
    (re.compile(r"^/api/v1/reports/batch$"), 8 * MIB),
    (re.compile(r"^/api/v1/tracks$"), 4 * MIB),
    (re.compile(r"^/api/v1/reports/[^/]+/photos$"), 11 * MIB),
    (re.compile(r"^/cases/[^/]+/steps$"), 11 * MIB),
)


def limit_bytes(path: str) -> int:
    """How many bytes the body of a request to `path` may have."""
    return next((limit for pattern, limit in LIMITS if pattern.match(path)), DEFAULT_BYTES)


class Limits:
    """ASGI middleware: refuses bodies over the limit of their route with 413, announced or not."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting what arrives."""
        if scope["type"] == "http":
            await _Limited(scope, receive, send).run(self.app)
        else:
            await self.app(scope, receive, send)


class _Limited:
    """One request, cut off where its body grows past the limit."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._limit = limit_bytes(scope["path"])
        self._taken, self._is_answered = 0, False
        self._id = scope["request_id"] = uuid.uuid4().hex

    @property
    def _is_over(self) -> bool:
        return self._taken > self._limit

    async def run(self, app: ASGIApp) -> None:
        announced = dict(self._scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > self._limit:
            await self._refuse()
            return
        try:
            await app(self._scope, self._counted, self._marked)
        except ClientDisconnect:
            if not self._is_over:
                raise
        if self._is_over:
            await self._refuse()

    async def _counted(self) -> Message:
        message = await self._receive()
        self._taken += len(message.get("body", b""))
        # To the application an oversized sender looks like one that hung up.
        return {"type": "http.disconnect"} if self._is_over else message

    async def _marked(self, message: Message) -> None:
        if self._is_over and not self._is_answered:
            return
        if message["type"] == "http.response.start":
            self._is_answered = True
            message["headers"] = [*message.get("headers", []), (b"x-request-id", self._id.encode())]
        await self._send(message)

    async def _refuse(self) -> None:
        if self._is_answered:
            return
        self._is_answered = True
        message = f"the body is larger than the {self._limit} bytes that are taken here"
        problem = {"error": "too_large", "message": message, "fields": []}
        body = json.dumps(for_asker(Request(self._scope), problem)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"connection", b"close"),
            (b"x-request-id", self._id.encode()),
        ]
        await self._send({"type": "http.response.start", "status": 413, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
