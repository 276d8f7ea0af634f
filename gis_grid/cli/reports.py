"""`gis-grid reports`."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from gis_grid.cli.options import City, err, open_city, out
from gis_grid.database import by_command
from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import Datum
from gis_grid.installation import utc_now
from gis_grid.instants import parse_instant
from gis_grid.report_exports import count_reports, export_reports
from gis_grid.report_fields import FIELDS, FieldMap, read_values
from gis_grid.report_files import LoadedReports, Tell, load_report_file
from gis_grid.reports import ReportFilter, count_by_sender, place_by_hand


def load(
    file: Annotated[Path, typer.Argument(help="A UTF-8 .csv, .csv.gz, .zip with one CSV file, or .parquet.")],
    *,
    map_: Annotated[
        list[str] | None, typer.Option("--map", metavar="FIELD=COLUMN", help="Take a field from a column.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Give a field one value in every row.")
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=CSV", help="What texts of kind, event_type or source stand for: from,to."),
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="Of times that name none; the city's without it.")] = None,
    datum: Annotated[Datum, typer.Option(help="What the points are measured on.")] = Datum.WGS84,
    rejects: Annotated[
        Path | None, typer.Option(help="Where rows go that cannot be read; without it one refuses the file.")
    ] = None,
    source_name: Annotated[str, typer.Option(help="Who numbered the rows.")] = "historic",
    force: Annotated[bool, typer.Option("--force", help="Load points that look like another datum.")] = False,
    city: City = None,
) -> None:
    """Store reports from the past, the whole file or nothing.

    Fields: lon, lat, kind, event_type (code or name), text, observed_at or received_at; id, accuracy_m, source,
    reporter_name, reporter_phone. Loading again stores nothing twice; rejected rows can be corrected in their file
    and loaded with the same options.

    Example: `gis-grid reports load calls.csv --map lon=X --map lat=Y --map text=note --map event_type=type
    --map received_at=opened --map id=number --set kind=投诉 --rejects rejected.csv`
    """
    with _progress() as tell, open_city(city) as (installation, session):
        fields = FieldMap(
            columns=_pairs("--map", map_),
            constants=_pairs("--set", set_),
            values={name: read_values(Path(path)) for name, path in _pairs("--values", values).items()},
            zone=_zone(time_zone) if time_zone else installation.city.zone,
            datum=datum,
            source_name=source_name,
        )
        loaded = load_report_file(
            session,
            file,
            fields,
            city=installation.city,
            snap_m=installation.settings.snap_m,
            by=by_command(),
            now=utc_now(),
            rejects=rejects,
            is_forced=force,
            tell=tell,
        )
    _report(loaded, rejects)


def _report(loaded: LoadedReports, rejects: Path | None) -> None:
    ways = ", ".join(f"{count:,} {method}" for method, count in loaded.stored.most_common()) or "none"
    out.print(f"{loaded.rows:,} rows: {loaded.stored.total():,} stored ({ways})", markup=False, soft_wrap=True)
    if loaded.repeated:
        out.print(f"{loaded.repeated:,} were stored before")
    if loaded.rejected:
        out.print(f"{loaded.rejected:,} rejected, see {rejects}", markup=False, soft_wrap=True)
    out.print(f"datum: {loaded.datum}", markup=False, soft_wrap=True)


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given or ():
        name, is_pair, value = text.partition("=")
        if not is_pair or name not in FIELDS or name in pairs:
            raise InvalidInput(
                f"{option} {text}: expected FIELD=…, each field once; the fields are {', '.join(FIELDS)}"
            )
        pairs[name] = value
    return pairs


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(f"--time-zone {name}: expected an IANA name such as Asia/Shanghai") from None


def place(
    report_id: Annotated[uuid.UUID, typer.Argument(help="The report's id.")],
    grid_code: Annotated[str, typer.Argument(help="The grid it belongs to.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept with the placement.")],
    city: City = None,
) -> None:
    """Put a report into a grid by hand; the placement it had stays in its history.

    Example: `gis-grid reports place 6f1c0c64-3b0e-4c52-9a55-0f5d0a3c7e11 310112001001001 --reason "seen on site"`
    """
    if not reason.strip():
        raise InvalidInput("--reason: say why")
    with open_city(city) as (_, session):
        report = place_by_hand(session, report_id, grid_code, reason=reason, by=by_command(), now=utc_now())
        code = report.grid.code if report.grid else None
    out.print(f"report {report_id} is in grid {code}, placed by hand", markup=False, soft_wrap=True)


def export(
    file: Annotated[Path, typer.Argument(help="Ends in .csv, .geojson, .gpkg or .parquet.")],
    *,
    grid: Annotated[str | None, typer.Option(help="Code of a grid.")] = None,
    town: Annotated[str | None, typer.Option(help="Code of a town, community or the district.")] = None,
    event_type: Annotated[str | None, typer.Option(help="Code of a type, or of a class with its types.")] = None,
    since: Annotated[str | None, typer.Option(help="Received from this ISO 8601 time on.")] = None,
    until: Annotated[str | None, typer.Option(help="Received before this ISO 8601 time.")] = None,
    staff: Annotated[
        bool, typer.Option("--staff", help="With texts, contacts and exact points: not to be passed on.")
    ] = False,
    city: City = None,
) -> None:
    """Write reports to a file, newest first; what the public may see, unless --staff is given.

    The public's rows have a point, the middle of a square of 100 m, where five of the reports or more lie in it.

    Example: `gis-grid reports export october.csv --since 2026-10-01 --until 2026-11-01`
    """
    with _progress() as tell, open_city(city) as (installation, session):
        zone = installation.city.zone
        which = ReportFilter(
            grid=grid,
            area=town,
            event_type=event_type,
            since=parse_instant(since, zone=zone) if since else None,
            until=parse_instant(until, zone=zone) if until else None,
            with_drills=True,
        )
        total = count_reports(session, which)
        count = export_reports(
            session, file, which, is_public=not staff, zone=zone, tell=lambda done: tell("Writing", done, total)
        )
    out.print(f"{count:,} reports written to {file}", markup=False, soft_wrap=True)


def count(
    *,
    town: Annotated[str | None, typer.Option(help="Code of a town, community or the district.")] = None,
    since: Annotated[str | None, typer.Option(help="Received from this ISO 8601 time on.")] = None,
    until: Annotated[str | None, typer.Option(help="Received before this ISO 8601 time.")] = None,
    city: City = None,
) -> None:
    """Count reports by source and by whom: residents, volunteers, stairwell heads, committees, staff.

    Example: `gis-grid reports count --since 2026-10-01 --until 2026-11-01`
    """
    with open_city(city) as (installation, session):
        zone = installation.city.zone
        which = ReportFilter(
            area=town,
            since=parse_instant(since, zone=zone) if since else None,
            until=parse_instant(until, zone=zone) if until else None,
        )
        found = count_by_sender(session, which)
    for one in found:
        typer.echo("\t".join((one.source, one.reporter_class, str(one.reports))))
    out.print(f"{sum(one.reports for one in found)} reports")


@contextmanager
def _progress() -> Iterator[Tell]:
    """A progress bar a task, drawn on a terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what)
            progress.update(tasks[what], completed=done, total=total)

        yield tell
