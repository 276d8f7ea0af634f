"""From what somebody sent to a report that can be filed."""

import uuid
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import Datum, LonLat, to_wgs84
from gis_grid.geo.privacy import coarsen
from gis_grid.informants import Sealed
from gis_grid.permissions import ReporterClass
from gis_grid.reports import Kind, NewReport, Source
from gis_grid.territory import Area, GridLayer, Level

Bounds = tuple[float, float, float, float]


def district_bounds(session: Session, *, at: datetime) -> Bounds | None:
    """West, south, east, north of the district in force at a time, WGS84 degrees; None without a layer."""
    extent = sa.func.ST_Extent(Area.geom)
    corners = [getattr(sa.func, f"ST_{side}")(extent) for side in ("XMin", "YMin", "XMax", "YMax")]
    query = (
        sa.select(*corners)
        .join(GridLayer, GridLayer.id == Area.layer_id)
        .where(Area.level == Level.DISTRICT.value, GridLayer.in_force.contains(at))
    )
    west, south, east, north = session.execute(query).one()
    return None if west is None else (west, south, east, north)


def wgs84_point(session: Session, lon: float, lat: float, datum: Datum, *, at: datetime) -> LonLat:
    """The point in WGS84.

    Raises
    ------
    InvalidInput
        Not finite, out of range, or a pair that lies in the district only when turned round.
    """
    return converted(lon, lat, datum, bounds=district_bounds(session, at=at))


def converted(lon: float, lat: float, datum: Datum, *, bounds: Bounds | None) -> LonLat:
    """`wgs84_point` with the district's bounds already known."""
    sent = LonLat.checked(lon, lat, bounds=bounds)
    if datum is Datum.WGS84:
        return sent
    x, y = to_wgs84(np.array([sent.lon]), np.array([sent.lat]), datum)
    return LonLat(float(x[0]), float(y[0]))


@dataclass(frozen=True)
class Intake:
    """Turns what is sent into new reports of one city.

    Attributes
    ----------
    metric_crs
        The city's CRS in metres, which public points are coarsened in.
    bounds
        Of the district, to tell swapped axes.
    """

    metric_crs: str
    bounds: Bounds | None

    def report(
        self,
        *,
        lon: float,
        lat: float,
        kind: Kind,
        event_type: str,
        text: str,
        source: Source,
        id_: uuid.UUID | None = None,
        datum: Datum = Datum.WGS84,
        accuracy_m: float | None = None,
        observed_at: datetime | None = None,
        received_at: datetime | None = None,
        reporter_name: str | None = None,
        reporter_phone: str | None = None,
        is_synthetic: bool = False,
        drill_id: int | None = None,
        reporter_class: ReporterClass = ReporterClass.RESIDENT,
        informant: Sealed | None = None,
    ) -> NewReport:
        """A report ready to be filed; its times are UTC already.

        Raises
        ------
        InvalidInput
            The point cannot be one.
        """
        point = converted(lon, lat, datum, bounds=self.bounds)
        public_lon, public_lat = coarsen(point.lon, point.lat, metric_crs=self.metric_crs)
        if not (np.isfinite(public_lon) and np.isfinite(public_lat)):
            raise InvalidInput(
                f"lon, lat: {lon}, {lat} lies where the city's {self.metric_crs} has no coordinates",
                fields=("lon", "lat"),
            )
        return NewReport(
            id=id_ or uuid.uuid4(),
            sent=LonLat(lon, lat),
            datum=datum,
            point=point,
            public_point=LonLat(float(public_lon), float(public_lat)),
            kind=kind,
            event_type=event_type,
            text=text,
            source=source,
            accuracy_m=accuracy_m,
            observed_at=observed_at,
            received_at=received_at,
            reporter_name=reporter_name,
            reporter_phone=reporter_phone,
            is_synthetic=is_synthetic,
            drill_id=drill_id,
            reporter_class=reporter_class,
            informant=informant,
        )
