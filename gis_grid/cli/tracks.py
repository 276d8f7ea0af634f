"""`gis-grid tracks`."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from sqlalchemy.orm import Session

from gis_grid.cli.options import City, err, open_city, out, settings
from gis_grid.database import by_command, connect, sessions
from gis_grid.errors import Conflict, InvalidInput
from gis_grid.geo.datum import Datum
from gis_grid.geo.track_chunks import Chunk, Judge, wrong_datums
from gis_grid.geo.tracks import read_fixes
from gis_grid.installation import Installation, open_installation, utc_now
from gis_grid.intake import district_bounds
from gis_grid.patrol_indicators import keep_patrol_figures
from gis_grid.territory import Level, areas_frame, layer_in_force
from gis_grid.track_intake import Upload, chunks_of, take_in
from gis_grid.track_keeping import forget_tracks, rebuild_days, withdraw_track

AT_ONCE = 500  # chunks
Day = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])]


def load(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="GPX, CSV, GeoJSON or Parquet.")],
    *,
    team: Annotated[str, typer.Option(help="Whose outings these are, a team's code.")] = "",
    walker: Annotated[str | None, typer.Option(help="Whose outings these are, a person.")] = None,
    datum: Annotated[Datum, typer.Option(help="What the fixes are measured on.")] = Datum.WGS84,
    time_zone: Annotated[str | None, typer.Option(help="Of fixes whose times name none.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Take the datum as named, however unlikely.")] = False,
    city: City = None,
) -> None:
    """Store outings and the ground they saw, all of the files or nothing; the same again changes nothing.

    Times are believed; fixes worse than 50 m or nowhere near the district are kept and not counted.

    Example: `gis-grid tracks load outings.gpx --team street-day-310112102`
    """
    chunks: list[Chunk] = []
    for file in files:
        fixes, rejected = read_fixes(file, datum=datum, time_zone=time_zone)
        for reason, count in rejected["reason"].value_counts().items():
            err.print(f"{file.name}: {count} rows left out: {reason}", markup=False, soft_wrap=True)
        chunks += chunks_of(fixes.assign(team=team, walker=walker))
    if not chunks:
        raise InvalidInput("no fix in these files can be used")
    with open_city(city) as (installation, session), Progress(console=err, transient=True) as progress:
        now = utc_now()
        if not force:
            _refuse_datum(session, chunks, now)
        judge = Judge(bounds=district_bounds(session, at=now))
        task = progress.add_task("Storing outings", total=len(chunks))
        stored, counted, uncounted = 0, 0, Counter[str]()
        for start in range(0, len(chunks), AT_ONCE):
            part = chunks[start : start + AT_ONCE]
            for one in take_in(session, Upload(part, judge, "file", now), city=installation.city):
                stored += one.is_new
                counted += one.counted
                uncounted.update({why.value: count for why, count in one.uncounted.items()})
            progress.advance(task, len(part))
    told = ", ".join(f"{count:,} {why}" for why, count in sorted(uncounted.items()))
    out.print(f"{stored:,} of {len(chunks):,} chunks are new; {counted:,} fixes count{f', not {told}' if told else ''}")


def _refuse_datum(session: Session, chunks: list[Chunk], now: datetime) -> None:
    layer = layer_in_force(session, now)
    if layer is None:
        return
    (district,) = areas_frame(session, layer, Level.DISTRICT).geometry
    for likely in wrong_datums(chunks, district).values():
        raise Conflict(f"these fixes lie in the district as {likely}; name it with --datum, or pass --force")


def forget(
    days: Annotated[
        int | None, typer.Option(help="Raw fixes older than this go; GIS_GRID_TRACK_DAYS without it.", min=1)
    ] = None,
    *,
    city: City = None,
) -> None:
    """Drop raw fixes older than some days for good; the ground they saw stays, and sums of months.

    Example: `gis-grid tracks forget --days 90`
    """
    days = days or settings(city).track_days
    if days is None:
        raise InvalidInput("--days, or GIS_GRID_TRACK_DAYS: expected how many days raw fixes are kept")
    now = utc_now()
    with _as_owner(city) as (installation, session):
        keep_patrol_figures(session, before=now - timedelta(days=days), city=installation.city, now=now)
        count = forget_tracks(session, days=days, city=installation.city, by=by_command(), now=now)
    out.print(f"{count:,} chunks dropped")


def withdraw(track: Annotated[str, typer.Argument(help="Name of the outing.")], *, city: City = None) -> None:
    """Take an outing back, with what only it has seen.

    Example: `gis-grid tracks withdraw 0b0f4f6e-outing`
    """
    with _as_owner(city) as (installation, session):
        count = withdraw_track(session, track, city=installation.city, by=by_command(), now=utc_now())
    out.print(f"{count:,} chunks taken back")


def rebuild(since: Day, until: Day, *, city: City = None) -> None:
    """Make the seen ground of whole days again from the stored fixes.

    Example: `gis-grid tracks rebuild --since 2026-03-01 --until 2026-03-31`
    """
    first, last = since.date(), until.date()
    if first > last:
        raise InvalidInput(f"--since {first} lies after --until {last}")
    with open_city(city) as (installation, session):
        count = rebuild_days(session, first=first, last=last, city=installation.city)
    out.print(f"{count:,} tiles made again, {_days(first, last)} days")


@contextmanager
def _as_owner(city: Path | None) -> Iterator[tuple[Installation, Session]]:
    """The installation and a session with the owner's rights: the service's role can delete nothing."""
    with open_installation(settings(city)) as installation:
        owner = connect(installation.owner_url, role=None)
        try:
            with sessions(owner).begin() as session:
                yield installation, session
        finally:
            owner.dispose()


def _days(first: date, last: date) -> int:
    return (last - first).days + 1
