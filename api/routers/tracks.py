"""Outings: taken in as chunks of fixes, and read, each reading written down."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import numpy as np
import shapely
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sqlalchemy.orm import Session, sessionmaker

from api.deps import InSession, Instant, Json, Now, Plain, TheActor, needs
from api.errors import refusal_of
from api.pages.refusals import for_asker
from gis_grid.errors import GridError, InvalidInput
from gis_grid.geo.datum import Datum
from gis_grid.geo.track_chunks import MAX_FIXES, Chunk, Judge, Why, make_chunk, wrong_datums
from gis_grid.joint_intake import JointIntake
from gis_grid.patrols import read_tracks
from gis_grid.permissions import Caller, Permission
from gis_grid.territory import Level, areas_frame, layer_in_force
from gis_grid.track_intake import Taken, Upload

router = APIRouter(prefix="/api/v1/tracks", tags=["tracks"])
MAX_CHUNKS = 100
OUTLINE_KEPT = timedelta(minutes=1)


class Outline:
    """The district's outline, asked for once a minute: it changes only with a new grid layer."""

    def __init__(self, make: sessionmaker[Session]) -> None:
        self._make = make
        self._kept: tuple[datetime, shapely.Geometry] | None = None

    def at(self, now: datetime) -> shapely.Geometry | None:
        """WGS84 degrees; None as long as no layer is in force."""
        if self._kept is not None and abs(now - self._kept[0]) < OUTLINE_KEPT:
            return self._kept[1]
        with self._make() as session:
            layer = layer_in_force(session, now)
            if layer is None:
                return None
            outline: shapely.Geometry
            (outline,) = areas_frame(session, layer, Level.DISTRICT).geometry
        shapely.prepare(outline)
        shapely.intersects_xy(outline, 0.0, 0.0)  # the first asks for an index, which threads must not make at once
        self._kept = now, outline
        return outline


async def _outline(request: Request) -> Outline:
    outline: Outline = request.app.state.outline
    return outline


async def _intake(request: Request) -> JointIntake:
    intake: JointIntake = request.app.state.track_intake
    return intake


TheOutline = Annotated[Outline, Depends(_outline)]
TheIntake = Annotated[JointIntake, Depends(_intake)]
Walker = Annotated[Caller, Depends(needs(Permission.SEND_TRACK))]
TrackReader = Annotated[Caller, Depends(needs(Permission.READ_TRACKS))]
Name = Annotated[str, StringConstraints(min_length=1, max_length=80), Plain]
Column = Annotated[list[float], Field(min_length=1, max_length=MAX_FIXES)]


class ChunkIn(BaseModel):
    """A piece of an outing: columns of fixes, one entry a fix.

    Sent again, or sent late, it does no harm. Each chunk should begin with its predecessor's last fix.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "track": "0b0f4f6e-outing",
                    "sequence": 0,
                    "epoch_s": [1772424000, 1772424010],
                    "lon": [121.3817, 121.3818],
                    "lat": [31.1128, 31.1128],
                    "accuracy_m": [6, 8],
                }
            ]
        },
    )

    track: Name
    sequence: Annotated[int, Field(ge=0, le=1_000_000)]
    epoch_s: Annotated[Column, Field(description="seconds since 1970-01-01T00:00:00Z")]
    lon: Column
    lat: Column
    accuracy_m: Annotated[list[float | None], Field(max_length=MAX_FIXES)] | None = None
    datum: Datum = Datum.WGS84
    team: Annotated[str, StringConstraints(max_length=80), Plain] = ""

    def made(self, walker: str) -> Chunk:
        """The chunk, in WGS84 and in the order of its times."""
        return make_chunk(
            self.track,
            self.sequence,
            epoch_s=self.epoch_s,
            lon=self.lon,
            lat=self.lat,
            accuracy_m=None if self.accuracy_m is None else np.array(self.accuracy_m, dtype=float),
            datum=self.datum,
            team=self.team,
            walker=walker,
        )


class TracksIn(BaseModel):
    """Chunks of one or more outings."""

    model_config = ConfigDict(extra="forbid")

    chunks: Annotated[list[Any], Field(min_length=1, max_length=MAX_CHUNKS)]
    sent_at: Annotated[Instant | None, Field(description="now, by the sender's clock: tells one that is off")] = None
    walker: Annotated[Name | None, Field(description="whose outings; only keys of other systems may say")] = None


@router.post("")
def send_tracks(
    request: Request, sent: TracksIn, caller: Walker, outline: TheOutline, intake: TheIntake, now: Now, by: TheActor
) -> Json:
    """Store up to 100 chunks, each answered for itself, in order: 201, 200 (sent before) or 422.

    A fix that does not count is stored with its reason: `accuracy` (worse than 50 m), `clock` (over 2 minutes off),
    `late` (over 90 days), `far` (nowhere near the district), `jump`, `datum` (what was sent lies clearly better in the
    district on another datum, which the answer names as `likely_datum`).
    """
    walker = _walker(sent.walker, caller)
    read = [_read(item, walker) for item in sent.chunks]
    good = [item for item in read if isinstance(item, Chunk)]
    district = outline.at(now)
    likely = wrong_datums(good, district) if district is not None else {}
    judge = Judge(
        bounds=None if district is None else district.bounds,
        received_ms=_ms(now),
        sent_ms=_ms(sent.sent_at) if sent.sent_at else None,
        wrong=likely,
    )
    # Stored with the uploads of others, in a session that is not this request's.
    taken = iter(intake.take_in(Upload(good, judge, by.channel, now)))
    results = [
        _taken(next(taken), likely) if isinstance(item, Chunk) else for_asker(request, refusal_of(item))
        for item in read
    ]
    return {"results": results}


def _walker(named: str | None, caller: Caller) -> str:
    if named is None:
        return caller.who
    if not caller.who.startswith("key:"):
        raise InvalidInput("walker: only keys of other systems may name somebody else", fields=("walker",))
    return f"{caller.who}/{named}"


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _read(item: Any, walker: str) -> Chunk | GridError | ValidationError:
    try:
        return ChunkIn.model_validate(item).made(walker)
    except (GridError, ValidationError) as error:
        return error


def _taken(taken: Taken, likely: Mapping[Datum, Datum]) -> Json:
    named = {"likely_datum": likely[taken.chunk.sent_on]} if taken.chunk.sent_on in likely else {}
    return named | {
        "status": 201 if taken.is_new else 200,
        "track": taken.chunk.track,
        "sequence": taken.chunk.sequence,
        "counted": taken.counted,
        "uncounted": {Why(why).value: count for why, count in taken.uncounted.items()},
    }


@router.get("")
def list_tracks(
    caller: TrackReader,
    session: InSession,
    now: Now,
    by: TheActor,
    walker: Annotated[Name, Query(description="`user:LOGIN`, or `key:NAME/PERSON` of another system")],
    since: Instant,
    until: Instant,
) -> Json:
    """One person's outings as GeoJSON lines, oldest first; that they were read, and by whom, is written down."""
    caller.demand(Permission.READ_TRACKS)
    if since >= until:
        raise InvalidInput("since: expected a time before until", fields=("since", "until"))
    found = read_tracks(session, walker, since=since, until=until, by=by, now=now)
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(row.geometry),
            "properties": {
                "track": row.track,
                "team": row.team,
                "started_at": row.started_at.isoformat(),
                "ended_at": row.ended_at.isoformat(),
                "is_synthetic": row.is_synthetic,
            },
        }
        for row in found.itertuples()
    ]
    return {"type": "FeatureCollection", "features": features}
