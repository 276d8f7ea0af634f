"""Domain things as JSON, in the view of whoever asks."""

from collections.abc import Collection

import shapely.geometry
from geoalchemy2.shape import to_shape

from api.deps import Json, view_of
from gis_grid.permissions import Caller, Permission
from gis_grid.photos import Photo
from gis_grid.reports import Report
from gis_grid.tenures import Tenure
from gis_grid.territory import Grid, ground_of


def manager_json(tenure: Tenure | None, caller: Caller, ground: Collection[str]) -> Json | None:
    """Who answers for a grid on a ground: post, unit and duty phone; the person for who may see contacts there."""
    if tenure is None:
        return None
    public = {
        "post": tenure.post,
        "unit": tenure.unit,
        "duty_phone": tenure.duty_phone,
        "is_synthetic": tenure.is_synthetic,
    }
    if not caller.may(Permission.SEE_CONTACTS, area=ground):
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


def report_feature(report: Report, caller: Caller, *, photos: list[Photo] | None = None) -> Json:
    """A report as a GeoJSON feature: for the public without point, text, contact and photos; its grid says where."""
    ground = ground_of(report.grid)
    view = view_of(caller, ground)
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
        "is_drill": report.is_drill,
        "reporter_class": report.reporter_class,
    }
    if not view.is_public:
        properties |= _details(report)
    if caller.may(Permission.SEE_CONTACTS, area=ground):
        contact = report.reporter
        properties["reporter"] = {"name": contact.name, "phone": contact.phone} if contact else None
    if photos is not None and caller.may(Permission.SEE_PHOTOS, area=ground):
        properties["photos"] = [photo_json(photo) for photo in photos]
    return {
        "type": "Feature",
        "id": str(report.id),
        "geometry": None if view.is_public else shapely.geometry.mapping(to_shape(report.geom)),
        "properties": properties,
    }


def _details(report: Report) -> Json:
    return {
        "text": report.text,
        "distance_m": report.distance_m,
        "accuracy_m": report.accuracy_m,
        "shares": report.shares,
        "sent": {"lon": report.sent_lon, "lat": report.sent_lat, "datum": report.datum},
        "placed_at": report.placed_at.isoformat(),
        "placed_by": report.placed_by,
        "placement_reason": report.placement_reason,
    }


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
