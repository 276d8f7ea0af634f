"""Pages for people: the district, the report form, a grid, an area, maps, and what staff need."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI


def install(app: "FastAPI") -> None:
    """Serve the pages and what they need."""
    # Here, so that the command line can draw the maps of `drawing` without loading every page.
    from fastapi import Depends  # noqa: PLC0415

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
        offline,
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
    from api.pages.rendering import SafeHeaders  # noqa: PLC0415
    from api.pages.static_files import serve_static  # noqa: PLC0415

    app.state.error_page = faults.error_page
    ground = (territory, report, public, sheets, blind_spots, situations)
    cases = (case_board, case_page, hotline, patrol, offline, joint_operations)
    supervision = (notices, bulletin, assessment, assessment_map, evaluations, accountability, rewards)
    for module in (*ground, *cases, *supervision, sign_in, staff):
        app.include_router(module.router, include_in_schema=False, dependencies=[Depends(banners.with_situations)])
    serve_static(app)
    app.add_middleware(SafeHeaders)
