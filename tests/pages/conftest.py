import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, BrowserContext, Page
from sqlalchemy.orm import Session

from api.app import create_app
from api.serving import Server
from gis_grid.installation import Installation
from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from tests.applications import application
from tests.browsers import PHONE
from tests.builders import add_signed_in
from tests.pages.walks import TOWN, Walk, add_team, sign_in
from tests.stored_cases import Desk


@pytest.fixture(scope="session")
def template(furnished: str) -> str:
    return furnished


@pytest.fixture
def desk(installation: Installation, session: Session) -> Desk:
    """Cases, and somebody signed in for each role, who is called as the role is."""
    for role in Role:
        add_signed_in(session, role.value, [Grant(role)])
    return Desk(session, installation.photos)


@pytest.fixture
def client(installation: Installation, clock: Callable[[], Any]) -> Iterator[TestClient]:
    with TestClient(application(installation, clock), raise_server_exceptions=False) as client:
        client.headers |= {"accept": "text/html", "origin": "http://testserver"}
        yield client


class Service:
    """The service on a port of its own, with the real clock, as a browser has; it can be stopped and come back."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        app = create_app(self.installation)
        self.server = Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture
def service(installation: Installation) -> Iterator[Service]:
    service = Service(installation)
    yield service
    service.stop()


@pytest.fixture
def site(service: Service) -> str:
    return service.url


@dataclass
class Visit:
    """What a browser did and complained about."""

    page: Page
    context: BrowserContext
    site: str
    faults: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: message.type == "error" and self.faults.append(message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))

    def open(self, path: str) -> Page:
        self.page.goto(self.site + path)
        return self.page


@pytest.fixture
def visiting(browser: Browser, site: str) -> Callable[..., Any]:
    """Opens the site as a phone or another screen; further keywords go to the browser's context."""

    @contextmanager
    def visiting(**options: Any) -> Iterator[Visit]:
        context = browser.new_context(**(PHONE | {"locale": "zh-CN"} | options))
        try:
            page = context.new_page()
            visit = Visit(page, context, site)
            visit.watch(page)
            ours = (site, "data:", "blob:")
            context.on("request", lambda asked: asked.url.startswith(ours) or visit.outside.append(asked.url))
            yield visit
        finally:
            context.close()

    return visiting


@pytest.fixture
def walking(visiting: Any, session: Session) -> Callable[..., Any]:
    """A patroller of the town who is signed in, on a phone that gives its location."""
    add_team(session)
    add_signed_in(session, "walker", [Grant(Role.PATROLLER, Scope(ScopeKind.AREA, TOWN))])

    @contextmanager
    def walking(**options: Any) -> Iterator[Walk]:
        with visiting(**({"permissions": ["geolocation"]} | options)) as visit:
            sign_in(visit, "cookie-of-walker")
            yield Walk(visit)

    return walking
