"""Pages for people: the district, the report form, a grid, an area, maps, and what staff need."""

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from api.pages import faults, report, sheets, sign_in, staff, territory
from api.pages.rendering import STATIC, SafeHeaders
from maps.assets import VENDOR


def install(app: FastAPI) -> None:
    """Serve the pages and what they need."""
    app.state.error_page = faults.error_page
    app.state.sheets = sheets.Drawn()
    for module in (territory, report, sheets, sign_in, staff):
        app.include_router(module.router, include_in_schema=False)
    # check_dir: whoever has not fetched the browser assets yet still gets an answer, and /healthz says it.
    app.mount("/static/vendor", StaticFiles(directory=VENDOR, check_dir=False))
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(SafeHeaders)
