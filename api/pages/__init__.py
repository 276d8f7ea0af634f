"""Pages for people: the district, the report form, a grid, an area, maps, and what staff need."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI


def install(app: "FastAPI") -> None:
    """Serve the pages and what they need."""
    # Here, so that the command line can draw the maps of `drawing` without loading every page.
    from fastapi import Depends  # noqa: PLC0415
    from fastapi.staticfiles import StaticFiles  # noqa: PLC0415

    from api.pages import (  # noqa: PLC0415
        accountability,
        assessment,
        assessment_map,
        banners,
        blind_spots,
        bulletin,
        case_board,
        case_page,
        evaluations,
        faults,
        hotline,
        joint_operations,
        notices,
        patrol,
        public,
        report,
        rewards,
        sheets,
        sign_in,
        situations,
        staff,
        territory,
    )
    from api.pages.rendering import STATIC, SafeHeaders  # noqa: PLC0415
    from maps.assets import VENDOR  # noqa: PLC0415

    app.state.error_page = faults.error_page
    app.state.sheets = sheets.Drawn()
    ground = (territory, report, public, sheets, blind_spots, situations)
    cases = (case_board, case_page, hotline, patrol, joint_operations)
    supervision = (notices, bulletin, assessment, assessment_map, evaluations, accountability, rewards)
    for module in (*ground, *cases, *supervision, sign_in, staff):
        app.include_router(module.router, include_in_schema=False, dependencies=[Depends(banners.with_situations)])
    # check_dir: whoever has not fetched the browser assets yet still gets an answer, and /healthz says it.
    app.mount("/static/vendor", StaticFiles(directory=VENDOR, check_dir=False))
    app.mount("/static", StaticFiles(directory=STATIC))
    app.add_middleware(SafeHeaders)
