"""Photos of reports: added by who reported or by who may see them, seen by them alone."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Path, Response, UploadFile
from sqlalchemy.orm import Session

from api.deps import InSession, Json, Now, PhotoCaller, ReporterOrStaff, TheActor, TheInstallation
from api.shapes import photo_json
from gis_grid.errors import NotFound
from gis_grid.permissions import Permission
from gis_grid.photos import (
    MAX_BYTES,
    MAX_PER_REPORT,
    MAX_WITH_STAFF,
    add_photo,
    copy_without_metadata,
    photo_path,
    the_photo,
)
from gis_grid.reports import the_report
from gis_grid.territory import ground_of

router = APIRouter(prefix="/api/v1/reports", tags=["photos"])
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


@router.post("/{report_id}/photos", status_code=201)
def send_photo(
    report_id: uuid.UUID,
    photo: UploadFile,
    asking: ReporterOrStaff,
    session: InSession,
    installation: TheInstallation,
    now: Now,
    by: TheActor,
) -> Json:
    """Add a JPEG, PNG or WebP of up to 10 MB and 40 megapixels; at most six a report, with those of staff thirty."""
    _demand(session, asking, report_id)
    data = photo.file.read(MAX_BYTES + 1)
    most = MAX_PER_REPORT if asking.is_reporter else MAX_WITH_STAFF
    return photo_json(add_photo(session, report_id, data, folder=installation.photos, by=by, now=now, at_most=most))


@router.get("/{report_id}/photos/{sha256}", response_class=Response)
def get_photo(
    report_id: uuid.UUID, sha256: Sha256, asking: ReporterOrStaff, session: InSession, installation: TheInstallation
) -> Response:
    """The original with its metadata for who may see photos; a re-encoded copy without any for the reporter."""
    _demand(session, asking, report_id)
    photo = the_photo(session, report_id, sha256)
    try:
        data = photo_path(installation.photos, sha256, photo.media_type).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"the file of photo {sha256} is gone") from None
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private"}
    if asking.is_reporter:
        return Response(copy_without_metadata(data), media_type="image/jpeg", headers=headers)
    return Response(data, media_type=photo.media_type, headers=headers)


def _demand(session: Session, asking: PhotoCaller, report_id: uuid.UUID) -> None:
    """Raise `NotFound` without the report, `Forbidden` where it lies out of the caller's scope."""
    report = the_report(session, report_id)
    if not asking.is_reporter:
        asking.caller.demand(Permission.SEE_PHOTOS, area=ground_of(report.grid))
