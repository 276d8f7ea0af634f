"""Who really asks, when proxies stand between: what trusted ones say is believed, and nobody else."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

Networks = Sequence[IPv4Network | IPv6Network]


class TrustedProxies:
    """ASGI middleware: takes client address and scheme from the X-Forwarded headers of trusted proxies alone."""

    def __init__(self, app: ASGIApp, *, trusted: Networks) -> None:
        self.app, self.trusted = app, trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as its first sender made it."""
        if scope["type"] in {"http", "websocket"} and scope.get("client") and self._trusts(scope["client"][0]):
            headers = Headers(scope=scope)
            client = self._first_stranger(headers.getlist("x-forwarded-for"))
            scheme = _last(headers.getlist("x-forwarded-proto")).lower()
            scope = dict(scope)
            if client is not None:
                scope["client"] = (client, 0)
            if scheme in {"http", "https"} and scope["type"] == "http":
                scope["scheme"] = scheme
        await self.app(scope, receive, send)

    def _first_stranger(self, values: Sequence[str]) -> str | None:
        """The address nearest to us that is no trusted proxy: what stands left of it is hearsay."""
        nearest = None
        for hop in reversed(",".join(values).split(",")):
            address = _address(hop)
            if address is None:
                break
            nearest = str(address)
            if not self._trusts(nearest):
                break
        return nearest

    def _trusts(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(
            address.version == network.version and address in network for network in self.trusted
        )


def _last(values: Sequence[str]) -> str:
    return values[-1].rpartition(",")[2].strip() if values else ""


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
