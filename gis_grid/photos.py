"""Photos of reports: checked by decoding, stored once by content, synced before the row that names them."""

import hashlib
import io
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from PIL import Image, ImageOps
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base, By, Change, change
from gis_grid.errors import Conflict, InvalidInput, NotFound
from gis_grid.geo.whole_files import sync, whole_file
from gis_grid.reports import Report, the_report

MAX_BYTES = 10 * 1024 * 1024
MAX_PIXELS = 40_000_000
MAX_PER_REPORT = 6
MAX_WITH_STAFF = 30
COPY_SIDE_PX = 1600
MEDIA_TYPES = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}


class Photo(Base):
    """One photo of one report; the file is named by its content."""

    __tablename__ = "photos"

    report_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey(Report.id), primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    media_type: Mapped[str]
    size_bytes: Mapped[int]
    width_px: Mapped[int]
    height_px: Mapped[int]
    added_at: Mapped[datetime]


class NotAPhoto(InvalidInput):
    """The bytes do not decode as a JPEG, PNG or WebP image within the limits."""


@dataclass(frozen=True)
class Decoded:
    """What decoding a photo told."""

    media_type: str
    width_px: int
    height_px: int


def decode(data: bytes) -> Decoded:
    """Type and size of a photo, every pixel of it decoded.

    Raises
    ------
    NotAPhoto
        Not JPEG, PNG or WebP, damaged, over 10 MB, or over 40 megapixels.
    """
    if len(data) > MAX_BYTES:
        raise NotAPhoto(f"photo: {len(data)} bytes; at most {MAX_BYTES} are taken", fields=("photo",))
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            width, height = image.size
            media_type = MEDIA_TYPES[str(image.format)]
            if is_small := width * height <= MAX_PIXELS:
                image.load()
    except Exception as error:
        raise NotAPhoto("photo: not a whole JPEG, PNG or WebP image", fields=("photo",)) from error
    if not is_small:
        raise NotAPhoto(f"photo: {width} × {height} pixels; at most {MAX_PIXELS} in all are taken", fields=("photo",))
    return Decoded(media_type, width, height)


def add_photo(
    session: Session,
    report_id: uuid.UUID,
    data: bytes,
    *,
    folder: Path,
    by: By,
    now: datetime,
    at_most: int = MAX_PER_REPORT,
) -> Photo:
    """The stored photo; sending the same bytes again changes nothing.

    Staff may add up to `MAX_WITH_STAFF`, so that no reporter can leave a disposal without room for its photo.

    Raises
    ------
    NotAPhoto
        See `decode`.
    Conflict
        The report has `at_most` photos already.
    """
    report = the_report(session, report_id, for_update=True)
    sha256 = hashlib.sha256(data).hexdigest()
    known = session.get(Photo, (report.id, sha256))
    if known is not None:
        return known
    count = session.scalar(sa.select(sa.func.count()).select_from(Photo).where(Photo.report_id == report.id)) or 0
    if count >= at_most:
        raise Conflict(f"report {report.id} has {count} photos already; at most {at_most} are kept")
    decoded = decode(data)
    _store(data, photo_path(folder, sha256, decoded.media_type))
    photo = Photo(
        report_id=report.id,
        sha256=sha256,
        media_type=decoded.media_type,
        size_bytes=len(data),
        width_px=decoded.width_px,
        height_px=decoded.height_px,
        added_at=now,
    )
    session.add(photo)
    after = {"photo": sha256, "media_type": decoded.media_type}
    session.execute(sa.insert(Change), [change("report", str(report.id), by=by, at=now, after=after)])
    return photo


def the_photo(session: Session, report_id: uuid.UUID, sha256: str) -> Photo:
    """The photo of a report, or `NotFound`."""
    photo = session.get(Photo, (report_id, sha256))
    if photo is None:
        raise NotFound(f"report {report_id} has no photo {sha256}")
    return photo


def photos_of(session: Session, report_id: uuid.UUID) -> list[Photo]:
    """A report's photos, oldest first."""
    query = sa.select(Photo).where(Photo.report_id == report_id).order_by(Photo.added_at, Photo.sha256)
    return list(session.scalars(query))


def photo_path(folder: Path, sha256: str, media_type: str) -> Path:
    """Where the original of a photo lies."""
    return folder / sha256[:2] / f"{sha256}{SUFFIXES[media_type]}"


def copy_without_metadata(data: bytes) -> bytes:
    """A JPEG of the photo turned upright, at most 1600 pixels a side, with no place, time or camera in it."""
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.thumbnail((COPY_SIDE_PX, COPY_SIDE_PX))
        bare = Image.new("RGB", upright.size)
        bare.paste(upright)
        copy = io.BytesIO()
        bare.save(copy, "JPEG", quality=85)
    return copy.getvalue()


def _store(data: bytes, path: Path) -> None:
    """Write a photo whole and on disk, so that no row ever names one that a power cut took."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with whole_file(path) as draft:
        draft.write_bytes(data)
    sync(path.parent.parent)
