"""The application for the tests: its routes, which take a while to read, are read once."""

from collections.abc import Callable
from datetime import datetime

from fastapi import FastAPI

from api.app import create_app, take_up
from gis_grid.installation import Installation

_kept: dict[object, FastAPI] = {}


def application(installation: Installation, clock: Callable[[], datetime]) -> FastAPI:
    """The application, at work for this installation and from now on for no other; `create_app` makes a second."""
    fixed = installation.city.adcode, installation.settings.trusted_proxies  # what `create_app` builds in
    if fixed in _kept:
        take_up(_kept[fixed], installation, clock=clock)
    else:
        _kept[fixed] = create_app(installation, clock=clock)
    return _kept[fixed]
