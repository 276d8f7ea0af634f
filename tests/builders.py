"""Plain builders of what the tests need, with answers that can be checked by hand."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import geopandas as gpd
import shapely
from fastapi.testclient import TestClient
from pyproj import Transformer
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.orm import Session

from api.deps import SESSION_COOKIE
from gis_grid.accounts import Account, RoleGrant, secret_sha256
from gis_grid.database import By
from gis_grid.passwords import Passwords
from gis_grid.permissions import Grant
from gis_grid.sign_in import AccountSession
from gis_grid.territory import GridLayer, load_layer

NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
BY = By(who="test", channel="test", request_id="r1")
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
CHEAP_PASSWORDS = Passwords(time_cost=1, memory_kib=8)
PASSWORD = "correct horse 12"
FOREVER = datetime(2100, 1, 1, tzinfo=UTC)


def bearer(login: str) -> dict[str, str]:
    """The header of an account that `add_signed_in` made."""
    return {"Authorization": f"Bearer token-of-{login}"}


STAFF = bearer("admin")


def as_(client: TestClient, login: str | None) -> TestClient:
    """The client as a browser in which such an account is signed in, or nobody."""
    client.cookies.clear()
    if login:
        client.cookies.set(SESSION_COOKIE, f"cookie-of-{login}")
    return client


def add_signed_in(session: Session, login: str, grants: Iterable[Grant]) -> Account:
    """An account with a token, `token-of-LOGIN`, and a browser's cookie, `cookie-of-LOGIN`, that never run out."""
    account = Account(login=login, password_hash=CHEAP_PASSWORDS.hash(PASSWORD), created_at=NOW)
    session.add(account)
    session.flush()
    for grant in grants:
        session.add(
            RoleGrant(
                account_id=account.id,
                role=grant.role,
                scope_kind=grant.scope.kind,
                scope_code=grant.scope.code,
                valid=Range(NOW - timedelta(days=1), None),
            )
        )
    for kind, secret in (("bearer", f"token-of-{login}"), ("browser", f"cookie-of-{login}")):
        session.add(
            AccountSession(
                account_id=account.id,
                kind=kind,
                secret_sha256=secret_sha256(secret),
                address="test",
                created_at=NOW,
                expires_at=FOREVER,
            )
        )
    session.commit()
    return account


def squares(
    columns: int = 3, rows: int = 3, *, side_m: float = 100.0, lon: float = 121.4, lat: float = 31.1
) -> gpd.GeoDataFrame:
    """An exact tiling of squares, numbered west→east then north→south, one community a row of squares.

    The squares are cut in EPSG:4549 and their shared corners are the same doubles.
    """
    x0, y0 = Transformer.from_crs(4326, 4549, always_xy=True).transform(lon, lat)
    back = Transformer.from_crs(4549, 4326, always_xy=True)
    corners = {
        (c, r): back.transform(x0 + c * side_m, y0 + (rows - r) * side_m)
        for c in range(columns + 1)
        for r in range(rows + 1)
    }
    cells = [
        (r, c, shapely.Polygon([corners[c, r + 1], corners[c + 1, r + 1], corners[c + 1, r], corners[c, r]]))
        for r in range(rows)
        for c in range(columns)
    ]
    return gpd.GeoDataFrame(
        {
            "grid_code": [f"310112001{r + 1:03d}{c + 1:03d}" for r, c, _ in cells],
            "community_code": [f"310112001{r + 1:03d}" for r, _, _ in cells],
            "community": [f"社区{r + 1}" for r, _, _ in cells],
            "town_code": "310112001",
            "town": "江川路街道",
            "area_m2": side_m * side_m,
        },
        geometry=[cell for _, _, cell in cells],
        crs="EPSG:4326",
    )


def areas_of(grids: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The areas that hold these grids, dissolved."""
    levels = [("community", "community_code", "community", "town_code"), ("town", "town_code", "town", None)]
    rows = [("district", "310112", "闵行区", None, shapely.union_all(grids.geometry.values))]
    for level, code, name, parent in levels:
        for key, group in grids.groupby(code):
            above = group[parent].iloc[0] if parent else "310112"
            rows.append((level, key, group[name].iloc[0], above, shapely.union_all(group.geometry.values)))
    columns = ["level", "code", "name", "parent_code", "geometry"]
    return gpd.GeoDataFrame(rows, columns=columns, geometry="geometry", crs="EPSG:4326")


def load_squares(session: Session, grids: gpd.GeoDataFrame | None = None, *, name: str = "squares") -> GridLayer:
    grids = squares() if grids is None else grids
    layer = load_layer(
        session,
        grids,
        areas_of(grids),
        name=name,
        source=f"{name}.geojson",
        source_sha256=name,
        is_synthetic=True,
        effective_at=NOW,
        accepted_faults=None,
        now=NOW,
        by=BY,
    )
    session.commit()
    return layer
