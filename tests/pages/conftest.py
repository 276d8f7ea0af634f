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

from api.app import create_app
from api.serving import Server
from gis_grid.installation import Installation
from tests.browsers import PHONE


@pytest.fixture(scope="session")
def template(furnished: str) -> str:
    return furnished


@pytest.fixture
def client(installation: Installation, clock: Callable[[], Any]) -> Iterator[TestClient]:
    with TestClient(create_app(installation, clock=clock), raise_server_exceptions=False) as client:
        client.headers |= {"accept": "text/html", "origin": "http://testserver"}
        yield client


@pytest.fixture
def site(installation: Installation) -> Iterator[str]:
    """The service on a port of its own, with the real clock, as a browser has."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(uvicorn.Config(create_app(installation), log_level="error", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://localhost:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


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
