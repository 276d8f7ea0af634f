"""The scripts and styles of the pages: all of a release lie under one address, which changes when any of them does."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from maps.assets import VENDOR

STATIC = Path(__file__).parent / "static"
LEAFLET = ("leaflet/dist/leaflet.css", "leaflet/dist/leaflet.js")


@cache
def static_files() -> Mapping[str, Path]:
    """Every file that pages name, by its name; Leaflet is missing where browser assets have not been fetched yet."""
    own = {path.name: path for path in sorted(STATIC.iterdir())}
    leaflet = {f"vendor/{name}": VENDOR / name for name in LEAFLET}
    return MappingProxyType({name: path for name, path in (own | leaflet).items() if path.is_file()})


@cache
def static_mark() -> str:
    """What tells this release's files from another's."""
    digest = hashlib.sha256()
    for name, path in static_files().items():
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]


def static_url(name: str) -> str:
    """Address of a file in this release; the modules that it imports lie beside it, and so are of the same release."""
    return f"/static/@{static_mark()}/{name}"


def serve_static(app: FastAPI) -> None:
    """Serve the files of this release, and no other's under its address."""
    for base in (f"/static/@{static_mark()}", "/static"):
        # check_dir: whoever has not fetched the browser assets yet still gets an answer, and /healthz says it.
        app.mount(f"{base}/vendor", StaticFiles(directory=VENDOR, check_dir=False))
        app.mount(base, StaticFiles(directory=STATIC))
