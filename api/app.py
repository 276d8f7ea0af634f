"""The service as one ASGI application."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from fastapi import Depends, FastAPI
from starlette.middleware.gzip import GZipMiddleware

from api import errors, pages
from api.admission import AT_ONCE, admitted
from api.case_stream import CaseStream
from api.limits import Limits
from api.pages.sheets import Drawn
from api.proxies import TrustedProxies
from api.routers import (
    accountability,
    assessment,
    blind_spots,
    bulletin,
    cases,
    evaluations,
    event_types,
    events,
    exchange,
    health,
    hotline,
    joint_operations,
    locate,
    notices,
    openness,
    photos,
    reports,
    rewards,
    seen,
    sign_in,
    situations,
    territory,
    tracks,
    units,
)
from api.spots import Found
from gis_grid import __version__
from gis_grid.assessment import KeptCounts
from gis_grid.installation import Installation, utc_now
from gis_grid.joint_intake import JointIntake

DESCRIPTION = """\
Reports are placed in the city's grids; each grid has one person who answers for it.

Without a token you get the public view: no names, own phones, texts, photos or points of single reports.
Staff get a token for their password from `POST /api/v1/sign-in`, other systems have a key; both send
`Authorization: Bearer TOKEN` and see what their roles let them see, where their roles count.
"""


def create_app(installation: Installation, *, clock: Callable[[], datetime] = utc_now) -> FastAPI:
    """The application of one installation; `clock` is what it takes for now."""
    app = FastAPI(
        title=f"GIS Grid · {installation.city.name}",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(admitted, scope="function")],
    )
    for module in (
        tracks,  # first: routes are tried in turn, and no other is asked for as often
        locate,
        reports,
        photos,
        cases,
        hotline,
        joint_operations,
        notices,
        bulletin,
        assessment,
        accountability,
        evaluations,
        exchange,
        events,
        openness,
        situations,
        rewards,
        territory,
        units,
        event_types,
        seen,
        blind_spots,
        sign_in,
        health,
    ):
        app.include_router(module.router)
    pages.install(app)
    errors.install(app)
    app.add_middleware(GZipMiddleware, minimum_size=2048)
    app.add_middleware(Limits)
    app.add_middleware(TrustedProxies, trusted=installation.settings.trusted_proxies)
    take_up(app, installation, clock=clock)
    return app


def take_up(app: FastAPI, installation: Installation, *, clock: Callable[[], datetime]) -> None:
    """Have the application work for an installation, with nothing kept of another."""
    app.state.installation = installation
    app.state.clock = clock
    app.state.places = asyncio.Semaphore(AT_ONCE)
    app.state.blind_spots = Found()
    app.state.outline = tracks.Outline(installation.sessions)
    app.state.track_intake = JointIntake(installation.sessions, city=installation.city)
    app.state.public_bulletins = openness.Bulletins()
    app.state.seen_again = {}
    app.state.kept_counts = KeptCounts(installation.city)
    app.state.case_stream = CaseStream(installation.engine)
    app.state.sheets = Drawn()
