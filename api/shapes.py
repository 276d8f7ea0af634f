"""Domain things as JSON, in the view of whoever asks."""

import shapely.geometry
from geoalchemy2.shape import to_shape

from api.deps import Json, View
from gis_grid.photos import Photo
from gis_grid.reports import Report
from gis_grid.tenures import Tenure
from gis_grid.territory import Grid


def manager_json(tenure: Tenure | None, view: View) -> Json | None:
    """Who answers for a grid: post, unit and duty phone; the person for staff only."""
    if tenure is None:
        return None
    public = {
        "post": tenure.post,
        "unit": tenure.unit,
        "duty_phone": tenure.duty_phone,
        "is_synthetic": tenure.is_synthetic,
    }
    if view.is_public:
        return public
    return public | {"name": tenure.person.name, "own_phone": tenure.person.own_phone}


def place_names(grid: Grid | None) -> Json:
    """A grid's code, community and town; each None outside every grid."""
    community = grid.community if grid else None
    return {
        "grid_code": grid.code if grid else None,
        "community": community.name if community else None,
        "town": community.parent.name if community and community.parent else None,
    }


def report_feature(report: Report, view: View, *, photos: list[Photo] | None = None) -> Json:
    """A report as a GeoJSON feature: for the public coarsened, without text, contact and photos."""
    point = to_shape(report.public_geom if view.is_public else report.geom)
    properties: Json = {
        **place_names(report.grid),
        "method": report.method,
        "is_uncertain": report.is_uncertain,
        "kind": report.kind,
        "event_type": report.event_type,
        "source": report.source,
        "observed_at": report.observed_at.isoformat() if report.observed_at else None,
        "received_at": report.received_at.isoformat(),
        "is_synthetic": report.is_synthetic,
        "is_coarsened": view.is_public,
    }
    if not view.is_public:
        properties |= _for_staff(report, photos)
    return {
        "type": "Feature",
        "id": str(report.id),
        "geometry": shapely.geometry.mapping(point),
        "properties": properties,
    }


def _for_staff(report: Report, photos: list[Photo] | None) -> Json:
    contact = report.reporter
    seen: Json = {
        "text": report.text,
        "distance_m": report.distance_m,
        "accuracy_m": report.accuracy_m,
        "shares": report.shares,
        "sent": {"lon": report.sent_lon, "lat": report.sent_lat, "datum": report.datum},
        "placed_at": report.placed_at.isoformat(),
        "placed_by": report.placed_by,
        "placement_reason": report.placement_reason,
        "reporter": {"name": contact.name, "phone": contact.phone} if contact else None,
    }
    if photos is not None:
        seen["photos"] = [photo_json(photo) for photo in photos]
    return seen


def photo_json(photo: Photo) -> Json:
    """What is known of a photo, and where to get it."""
    return {
        "sha256": photo.sha256,
        "url": f"/api/v1/reports/{photo.report_id}/photos/{photo.sha256}",
        "media_type": photo.media_type,
        "size_bytes": photo.size_bytes,
        "width_px": photo.width_px,
        "height_px": photo.height_px,
        "added_at": photo.added_at.isoformat(),
    }
