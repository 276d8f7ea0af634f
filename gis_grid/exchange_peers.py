"""Whom this centre exchanges cases with, as the settings name them; pure."""

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

PeerName = Literal["110", "12345"]
PEERS: tuple[PeerName, ...] = ("110", "12345")
# Takes messages and sends none.
ReceiverName = Literal["110", "12345", "webhook"]
WEBHOOK: Literal["webhook"] = "webhook"
KEY_CHARS = 32
NAT64 = IPv6Network("64:ff9b::/96")  # public to look at, and any address of the old network behind


def _safe_url(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.username is not None or parts.query or parts.fragment or not host:
        raise ValueError(f"url {url!r}: expected https://host/path, without user, query and fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError(f"url {url!r}: only https is safe over a network; http is for this machine alone")
    _ = parts.port  # a ValueError that names it, where it is none
    return url.rstrip("/")


def _named_url(url: str) -> str:
    """A URL whose host is a name: an address in any of its spellings could be any machine of the network."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError(f"url {url!r}: expected plain ASCII, without blanks and backslashes")
    url = _safe_url(url)
    host = urlsplit(url).hostname or ""
    labels = host.rstrip(".").split(".")
    if not re.fullmatch("[a-z]([a-z0-9-]*[a-z0-9])?", labels[-1]) or ":" in host:
        raise ValueError(f"url {url!r}: {host} is an address or no host name; expected a name, as in the allow-list")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _long_key(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < KEY_CHARS:
        raise ValueError(f"key: shorter than {KEY_CHARS} characters; make one with `openssl rand -hex 32`")
    return key


class Peer(BaseModel):
    """The other side of an exchange.

    Attributes
    ----------
    url
        Where it takes messages: `{url}/messages` and `{url}/balance`.
    key
        What messages are signed with, both ways.
    token
        What it wants as `Authorization: Bearer`, where it wants one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, AfterValidator(_safe_url)]
    key: Annotated[SecretStr, AfterValidator(_long_key)]
    token: Annotated[SecretStr, Field(min_length=1)] | None = None

    def may_be_at(self, address: IPv4Address | IPv6Address) -> bool:  # noqa: ARG002 - a webhook asks
        """Whether its name may stand for this address: for any, it was agreed with the other side."""
        return True


class Webhook(Peer):
    """Whoever is told of acts of supervision; each is posted to `url` itself, and any 2xx takes it.

    Attributes
    ----------
    networks
        Addresses that are not public and that its name may stand for all the same.
    """

    url: Annotated[str, AfterValidator(_named_url)]
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def may_be_at(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether its name may stand for this address: a public one, or one of `networks`."""
        meant = getattr(address, "ipv4_mapped", None) or address
        is_public = meant.is_global and not meant.is_multicast and meant not in NAT64
        return is_public or any(meant in network for network in self.networks)

    @property
    def host(self) -> str:
        """The name in the URL, as the allow-list writes it."""
        return (urlsplit(self.url).hostname or "").rstrip(".")
