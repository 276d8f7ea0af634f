"""The files that say which units, posts and telephone numbers there are; a row may stand for a unit in every town."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from gis_grid.city import City
from gis_grid.dated import BEGINNING, Row, Stretch, read_file, refuse, refuse_overlaps
from gis_grid.errors import InvalidInput
from gis_grid.territory import Area, GridLayer, Level, layer_in_force
from gis_grid.units import PARENT_KIND, HotlineRole, PlacementModel, UnitKind

UNIT_COLUMNS = (
    "code",
    "each",
    "name",
    "name_en",
    "kind",
    "parent_code",
    "area_level",
    "area_code",
    "enforces_as",
    "placement_model",
    "since",
    "until",
    "is_example",
)
POST_COLUMNS = ("kind", "title", "is_first_responsible", "since", "until", "is_example")
HOTLINE_COLUMNS = ("number", "name", "unit_code", "role", "since", "until", "is_example")

Numbered = list[tuple[int, Stretch]]


@dataclass(frozen=True)
class Ground:
    """An area as a row can name it: its code and name, and the codes of what it lies in."""

    level: Level
    since: datetime
    names: Mapping[str, str]


def grounds(session: Session, city: City, *, now: datetime) -> list[Ground]:
    """The district, and the towns and communities of the layer in force, if there is one."""
    layer = layer_in_force(session, now)
    names = {"area": city.adcode, "name": city.name, "place": city.name, "district": city.adcode}
    district = Ground(Level.DISTRICT, BEGINNING, names)
    return [district, *(_areas(session, layer, city) if layer else ())]


def _areas(session: Session, layer: GridLayer, city: City) -> Iterable[Ground]:
    parent = aliased(Area)
    query = (
        sa.select(Area.level, Area.code, Area.name, parent.code)
        .join(parent, Area.parent_id == parent.id)
        .where(Area.layer_id == layer.id, Area.level != Level.DISTRICT)
        .order_by(Area.level, Area.code)
    )
    since = layer.in_force.lower if layer.in_force and layer.in_force.lower else BEGINNING
    for level, code, name, above in session.execute(query):
        names = {"area": code, "name": name, "place": re.sub("(居|村)委会$", "", name), "district": city.adcode}
        own = {"town": code} if level == Level.TOWN else {"community": code, "town": above}
        yield Ground(Level(level), since, names | own)


def fill_in(template: str, names: Mapping[str, str]) -> str:
    """A text with `{area}`, `{name}`, `{place}`, `{town}`, `{community}`, `{district}` replaced.

    Raises
    ------
    InvalidInput
        A word in braces that has no meaning there.
    """

    def word(found: re.Match[str]) -> str:
        if found[1] not in names:
            raise InvalidInput(f"{{{found[1]}}} in {template!r} has no meaning here; {', '.join(sorted(names))} have")
        return names[found[1]]

    return re.sub(r"\{([^{}]*)\}", word, template)


def read_units(path: Path, places: Sequence[Ground], *, zone: ZoneInfo) -> Numbered:
    """The units of a file with the columns of `UNIT_COLUMNS`, as stretches of `Unit`.

    `each` (district, town or community) makes a unit for each such area, which the unit then works in. A unit of a
    town or community that the layer in force lacks is left out.

    Raises
    ------
    InvalidInput
        Naming every row at fault, or every unit that is not part of one tree.
    """
    levels = [level.value for level in Level]
    known = {place.names["area"] for place in places}

    def stretches(row: Row) -> list[Stretch]:
        since, until = row.range(zone)
        each = row.choice("each", ["", *levels])
        row.choice("kind", UnitKind)
        row.choice("placement_model", ["", *PlacementModel])
        row.choice("area_level", ["", *levels])
        if bool(row["area_level"]) != bool(row["area_code"]):
            raise InvalidInput("area_level and area_code go together")
        if each:
            return [_unit(row, place, since, until) for place in places if place.level == each]
        is_away = row["area_level"] not in {"", Level.DISTRICT} and row["area_code"] not in known
        return [] if is_away else [_unit(row, None, since, until)]

    optional = {"each", "parent_code", "area_level", "area_code", "enforces_as", "placement_model", "since", "until"}
    parsed = read_file(path, stretches, columns=UNIT_COLUMNS, optional=optional)
    units = [(number, unit) for number, several in parsed for unit in several]
    refuse_overlaps(path, units)
    refuse(path, tree_faults(units))
    return units


def read_code_templates(path: Path) -> set[str]:
    """The codes of a file of units as it writes them: `{town}` stands for every town, loaded or not."""
    optional = set(UNIT_COLUMNS) - {"code"}
    return {code for _, code in read_file(path, lambda row: row["code"], columns=UNIT_COLUMNS, optional=optional)}


def _unit(row: Row, place: Ground | None, since: datetime | None, until: datetime | None) -> Stretch:
    names: Mapping[str, str] = place.names if place else {}
    texts = {name: fill_in(row[name], names) for name in ("code", "name", "name_en", "parent_code", "enforces_as")}
    if not re.fullmatch(r"[0-9A-Za-z_.\-]{1,40}", texts["code"]):
        raise InvalidInput(f"code {texts['code']!r} is not 1 to 40 letters, digits, dots, hyphens or underscores")
    if place:
        since = max(since or BEGINNING, place.since)
    values = (
        texts["name"],
        texts["name_en"],
        row["kind"],
        texts["parent_code"] or None,
        row["area_level"] or (place.level.value if place else None),
        row["area_code"] or (place.names["area"] if place else None),
        texts["enforces_as"] or None,
        row["placement_model"] or None,
        row.truth("is_example"),
    )
    return Stretch((texts["code"],), values, since, until)


@dataclass(frozen=True)
class _Place:
    """A unit's place in the tree at one moment."""

    number: int
    kind: str
    parent: str | None
    enforces_as: str | None


def tree_faults(units: Numbered) -> list[str]:
    """Why these units are not, at every moment, one tree under the centre; nothing when they are.

    A unit needs a parent that is there at the time, and no unit may be above itself; sub-centres hang under the
    centre, and community workstations under sub-centres.
    """
    faults: dict[str, None] = {}
    for moment in sorted({unit.since or BEGINNING for _, unit in units} | {u.until for _, u in units if u.until}):
        there = {
            str(unit.key[0]): _Place(number, unit.values[2], unit.values[3], unit.values[6])
            for number, unit in units
            if (unit.since or BEGINNING) <= moment and (unit.until is None or moment < unit.until)
        }
        # The same fault at several moments is one fault.
        faults |= dict.fromkeys(_faults_at(there, moment.date().isoformat()))
    return list(faults)


def _faults_at(there: Mapping[str, _Place], day: str) -> Iterable[str]:
    roots = [code for code, unit in there.items() if unit.kind == UnitKind.CENTRE]
    if len(roots) > 1:
        yield f"{', '.join(roots)} are all centres on {day}; there is one"
    sound: set[str] = set(roots)
    for code, unit in there.items():
        row = f"row {unit.number}: unit {code}"
        if unit.enforces_as is not None and unit.enforces_as not in there:
            yield f"{row} enforces as {unit.enforces_as}, which is not there on {day}"
        if (unit.parent is None) != (unit.kind == UnitKind.CENTRE):
            yield f"{row} needs a parent" if unit.parent is None else f"{row} is the root and can have no parent"
        elif unit.parent is not None and unit.parent not in there:
            yield f"{row} has the parent {unit.parent}, which is not there on {day}"
        elif unit.parent is not None and unit.kind in PARENT_KIND:
            wanted = PARENT_KIND[UnitKind(unit.kind)]
            if there[unit.parent].kind != wanted:
                yield f"{row} has the parent {unit.parent}, which is no {wanted}"
        if circle := _circle(code, there, sound):
            yield f"row {unit.number}: units in a circle: {' → '.join(circle)}"


def _circle(code: str, there: Mapping[str, _Place], sound: set[str]) -> list[str]:
    """The circle that a unit is part of, beginning with its lowest code; `sound` gathers units known to be in none."""
    path = [code]
    while (unit := there.get(path[-1])) is not None and unit.parent is not None and path[-1] not in sound:
        if unit.parent in path:
            circle = path[path.index(unit.parent) :]
            first = circle.index(min(circle))
            return [*circle[first:], *circle[:first], circle[first]] if code == min(circle) else []
        path.append(unit.parent)
    sound.update(path)
    return []


def read_posts(path: Path, units: Numbered, *, zone: ZoneInfo) -> Numbered:
    """The posts of a file with the columns of `POST_COLUMNS`: those of a kind, for every unit of it."""

    def post(row: Row) -> Stretch:
        since, until = row.range(zone)
        key = (row.choice("kind", UnitKind), row["title"])
        return Stretch(key, (row.truth("is_first_responsible"), row.truth("is_example")), since, until)

    posts = read_file(path, post, columns=POST_COLUMNS, optional=("since", "until"))
    refuse_overlaps(path, posts)
    first = [
        (number, Stretch((post.key[0], "first responsible"), (), post.since, post.until))
        for number, post in posts
        if post.values[0]
    ]
    refuse_overlaps(path, first)
    return [
        (number, Stretch((code, post.key[1]), post.values, since, until))
        for code, kind, begin, end in _lives(units)
        for number, post in posts
        if post.key[0] == kind
        for since, until in [_common(post, begin, end)]
        if until is None or (since or BEGINNING) < until
    ]


def _lives(units: Numbered) -> list[tuple[str, str, datetime | None, datetime | None]]:
    """Each unit's code and kind, from its first beginning to its last end."""
    by_code: dict[str, list[Stretch]] = {}
    for _, unit in units:
        by_code.setdefault(str(unit.key[0]), []).append(unit)
    lives = []
    for code, several in by_code.items():
        begins = [unit.since for unit in several if unit.since is not None]
        ends = [unit.until for unit in several if unit.until is not None]
        since = min(begins) if len(begins) == len(several) else None
        lives.append((code, several[-1].values[2], since, max(ends) if len(ends) == len(several) else None))
    return lives


def _common(post: Stretch, begin: datetime | None, end: datetime | None) -> tuple[datetime | None, datetime | None]:
    begins = [at for at in (post.since, begin) if at is not None]
    ends = [at for at in (post.until, end) if at is not None]
    return max(begins, default=None), min(ends, default=None)


def read_hotlines(path: Path, units: Collection[str], *, zone: ZoneInfo) -> Numbered:
    """The telephone numbers of a file with the columns of `HOTLINE_COLUMNS`; each belongs to one of `units`."""

    def hotline(row: Row) -> Stretch:
        since, until = row.range(zone)
        if not re.fullmatch(r"[0-9][0-9-]{1,19}", row["number"]):
            raise InvalidInput(f"number {row['number']!r} is not digits and hyphens")
        if row["unit_code"] not in units:
            raise InvalidInput(f"unit_code {row['unit_code']!r} is no unit")
        values: tuple[Any, ...] = (row["name"], row["unit_code"], row.choice("role", HotlineRole))
        return Stretch((row["number"],), (*values, row.truth("is_example")), since, until)

    numbered = read_file(path, hotline, columns=HOTLINE_COLUMNS, optional=("since", "until"))
    refuse_overlaps(path, numbered)
    return numbered
