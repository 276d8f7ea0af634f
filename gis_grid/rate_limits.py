"""How often somebody may do something: counts in fixed windows of time, kept in the database."""

import ipaddress
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base
from gis_grid.errors import Forbidden

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RateLimit:
    """At most `count` times in each window of length `per`."""

    what: str
    count: int
    per: timedelta


class RateCount(Base):
    """How often `who` did `what` in the window that began then; the next window takes its place."""

    __tablename__ = "rate_counts"

    what: Mapped[str] = mapped_column(primary_key=True)
    who: Mapped[str] = mapped_column(primary_key=True)
    window_start: Mapped[datetime]
    count: Mapped[int]


class TooMany(Forbidden):
    """More than is allowed in a time.

    Attributes
    ----------
    retry_after_s
        After how many seconds it may be tried again.
    """

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, math.ceil(retry_after_s))


def spend(session: Session, limit: RateLimit, who: str, *, now: datetime, times: int = 1) -> TooMany | None:
    """Count `times` more; the refusal when that is more than the limit.

    What is refused counts too. The count is to be committed whatever becomes of the request.
    """
    start = EPOCH + ((now - EPOCH) // limit.per) * limit.per
    # Capped, so that no number of refused requests can overflow it.
    most = limit.count + 1
    row = insert(RateCount).values(what=limit.what, who=who, window_start=start, count=min(times, most))
    is_later = row.excluded.window_start > RateCount.window_start
    going_on = sa.func.least(RateCount.count + row.excluded.count, most)
    upsert = row.on_conflict_do_update(
        index_elements=[RateCount.what, RateCount.who],
        set_={
            "count": sa.case((is_later, row.excluded.count), else_=going_on),
            "window_start": sa.func.greatest(RateCount.window_start, row.excluded.window_start),
        },
    )
    count = session.execute(upsert.returning(RateCount.count)).scalar_one()
    if count <= limit.count:
        return None
    wait = (start + limit.per - now).total_seconds()
    return TooMany(f"more than {limit.count} {limit.what} from one address in {limit.per}", retry_after_s=wait)


def address_key(address: str) -> str:
    """Whom an address stands for: itself, or in IPv6 its /64, which one household or phone has to itself."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
