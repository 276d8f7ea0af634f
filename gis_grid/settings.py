"""What an administrator can set, read once at an edge and passed on."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gis_grid.exchange_peers import WEBHOOK, Peer, PeerName, ReceiverName, Webhook


def _split(given: object) -> object:
    return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Settings from the environment, each with the prefix `GIS_GRID_`.

    Attributes
    ----------
    data
        Folder of the embedded database, the photos and the secret.
    city
        A `city.toml`; Minhang without one.
    database_url
        A PostgreSQL >= 15 with PostGIS >= 3.3 to use instead of the embedded one; what the service connects with.
    owner_database_url
        The same database as its owner, for migrations; `database_url` without it.
    snap_m
        How far outside every grid a point may lie and still go to the nearest one, in metres.
    trusted_proxies
        Addresses or networks, with commas between, whose X-Forwarded-For and X-Forwarded-Proto are believed.
    anonymous_reports_per_hour
        How many reports one address may send without signing in.
    sign_ins_per_quarter_hour
        How many passwords one address may try.
    exchange_peers
        JSON, name → url, key and perhaps token, of those that cases are exchanged with: 110, 12345.
    informant_keys
        Fernet keys, with commas between, that informants' names are sealed with: the first seals, all of them open.
    track_days
        How many days raw fixes of outings are kept: patrollers are told so, and `gis-grid tracks forget` drops what is
        older. None where nobody has settled it.
    webhook
        JSON, url, key and perhaps token, of whoever is told of acts of supervision; `networks` are the private
        addresses that its host's name may stand for.
    webhook_hosts
        Names, with commas between, of the hosts that `webhook` may be on.
    """

    model_config = SettingsConfigDict(env_prefix="GIS_GRID_")

    data: Path = Path(".gis-grid")
    city: Path | None = None
    database_url: str | None = None
    owner_database_url: str | None = None
    snap_m: float = 50.0
    trusted_proxies: Networks = ()
    anonymous_reports_per_hour: int = 30
    sign_ins_per_quarter_hour: int = 20
    exchange_peers: dict[PeerName, Peer] = {}
    informant_keys: Secrets = ()
    track_days: Annotated[int, Field(ge=1)] | None = None
    webhook: Webhook | None = None
    webhook_hosts: Names = ()

    @model_validator(mode="after")
    def _webhook_is_allowed(self) -> Self:
        allowed = [name.lower().rstrip(".") for name in self.webhook_hosts]
        if self.webhook is not None and self.webhook.host not in allowed:
            known = ", ".join(allowed) or "none"
            raise ValueError(
                f"webhook: host {self.webhook.host} is not in GIS_GRID_WEBHOOK_HOSTS, which allows {known}"
            )
        return self

    @property
    def receivers(self) -> dict[ReceiverName, Peer]:
        """Whom messages are sent to, by name."""
        peers: dict[ReceiverName, Peer] = dict(self.exchange_peers.items())
        return peers if self.webhook is None else peers | {WEBHOOK: self.webhook}
