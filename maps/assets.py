"""Browser assets kept on this machine: installed from npm, inlined into files or served beside pages.

A map is drawn where there is no network, so Folium's links to content networks never reach the browser. The choice
between inlining and serving is made for one rendering; Folium's classes are left alone, since pages are rendered in
several threads.
"""

import base64
import html
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import folium
from branca.element import CssLink, Element, JavascriptLink, Link

from gis_grid.errors import Unavailable

VENDOR = Path(__file__).parent / "vendor"

_VENDORED = (
    "leaflet/LICENSE",
    "leaflet/dist/leaflet.css",
    "leaflet/dist/leaflet.js",
    "leaflet/dist/images/layers.png",
    "leaflet/dist/images/layers-2x.png",
    "leaflet/dist/images/marker-icon.png",
    "leaflet/dist/images/marker-icon-2x.png",
    "leaflet/dist/images/marker-shadow.png",
)

_DROPPED = None
# Folium's name for a link -> our file below VENDOR. Our maps draw popups, labels and marks with Leaflet alone, so what
# Folium adds to each map for its own popups and icons (600 kB of it) is dropped.
_LOCAL: dict[str, str | None] = {
    "leaflet": "leaflet/dist/leaflet.js",
    "leaflet_css": "leaflet/dist/leaflet.css",
    "jquery": _DROPPED,
    "bootstrap": _DROPPED,
    "bootstrap_css": _DROPPED,
    "glyphicons_css": _DROPPED,
    "awesome_markers": _DROPPED,
    "awesome_markers_css": _DROPPED,
    "awesome_markers_font_css": _DROPPED,
    "awesome_rotate_css": _DROPPED,
}
_NEEDS_DROPPED = (folium.Popup, folium.Icon)

_CSS_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)['\"]?\s*\)")
_OUTSIDE_LINK = re.compile(
    r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)\s*=\s*[\"']?((?:https?:)?//[^\"'\s>]+)", re.IGNORECASE
)
_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)


class UnknownAsset(Unavailable):
    """A map asks for a browser asset that is not kept on this machine."""


@dataclass(frozen=True)
class Inline:
    """Put JS and CSS into the page: one file that opens anywhere."""


@dataclass(frozen=True)
class Served:
    """Link JS and CSS below `base`, where the contents of `VENDOR` are served."""

    base: str = "/static/vendor/"


def render(map_: folium.Map, *, assets: Inline | Served) -> str:
    """Full HTML page of a map, with no address outside this machine but its basemap's.

    Raises
    ------
    UnknownAsset
        The map holds an element whose JS or CSS is not in the table.
    Unavailable
        The assets are not installed.
    """
    _refuse_what_needs_dropped_assets(map_)
    figure = map_.get_root()
    figure.header = _LocalHeader(assets, like=figure.header)
    figure.header.add_child(Element('<meta name="color-scheme" content="light">'), name="meta_scheme")
    page: str = figure.render()
    if outside := _OUTSIDE_LINK.search(page):
        raise UnknownAsset(f"the map links {outside[1]}, which is not among the local browser assets")
    return page.replace("<html>", '<html lang="zh-CN">', 1)


def embed(map_: folium.Map, *, assets: Inline | Served | None = None, height_px: int = 560) -> str:
    """HTML fragment that shows a map inside a page or a notebook, as a frame of `height_px`."""
    page = html.escape(render(map_, assets=assets or Inline()), quote=True)
    style = f"width:100%;height:{height_px:d}px;border:0"
    return f'<div><iframe srcdoc="{page}" style="{style}" title="地图 Map"></iframe></div>'


def vendor_files() -> tuple[Path, ...]:
    """Every installed browser asset.

    Raises
    ------
    Unavailable
        One is missing; the message names it and the command that installs it.
    """
    return tuple(_installed(name) for name in _VENDORED)


def install_assets(node_modules: Path, vendor: Path = VENDOR) -> tuple[Path, ...]:
    """Copy the files that maps need out of `node_modules`; files already the same are left alone.

    Raises
    ------
    Unavailable
        `node_modules` lacks one of them.
    """
    return tuple(_install(node_modules / name, vendor / name) for name in _VENDORED)


def _install(source: Path, target: Path) -> Path:
    if not source.is_file():
        raise Unavailable(f"{source} is missing: run npm ci")
    if not target.is_file() or target.read_bytes() != source.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return target


def _installed(name: str) -> Path:
    path = VENDOR / name
    if not path.is_file():
        raise Unavailable(f"browser asset maps/vendor/{name} is missing: run script/bootstrap")
    return path


class _LocalHeader(Element):
    """A page's head that turns each link, as it is added, into a local asset."""

    def __init__(self, assets: Inline | Served, *, like: Element) -> None:
        super().__init__()
        self._assets = assets
        self._parent = like.get_root()
        for name, child in like._children.items():  # noqa: SLF001  branca lists children nowhere else
            self.add_child(child, name=name)

    def add_child(self, child: Element, name: str | None = None, index: int | None = None) -> Element:
        if isinstance(child, Link):
            child = _Verbatim(_local_link(child, name, self._assets))
        return super().add_child(child, name=name, index=index)


class _Verbatim(Element):
    """HTML written as it stands: minified scripts must not be read as Jinja templates."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def render(self, **_: object) -> str:
        return self.text


def _local_link(link: Link, name: str | None, assets: Inline | Served) -> str:
    if name not in _LOCAL or not isinstance(link, JavascriptLink | CssLink):
        raise UnknownAsset(f"the map asks for {name or 'a link'} ({link.url}), not among the local browser assets")
    file = _LOCAL[name]
    if file is None:
        return ""
    _installed(file)
    is_script = isinstance(link, JavascriptLink)
    if isinstance(assets, Served):
        url = html.escape(assets.base.rstrip("/") + "/" + file, quote=True)
        return f'<script src="{url}"></script>' if is_script else f'<link rel="stylesheet" href="{url}">'
    return f"<script>{_inline_script(file)}</script>" if is_script else f"<style>{_inline_style(file)}</style>"


@lru_cache
def _inline_script(name: str) -> str:
    script = _installed(name).read_text("utf-8")
    return _SOURCE_MAP.sub("", script).replace("</script", "<\\/script")


@lru_cache
def _inline_style(name: str) -> str:
    folder = _installed(name).parent

    def inline(reference: re.Match[str]) -> str:
        path = folder / reference[1]
        if reference[1].startswith("#") or not path.is_file():
            return "none"  # VML behaviour for Internet Explorer
        return f"url(data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()})"

    return _CSS_URL.sub(inline, _installed(name).read_text("utf-8"))


def _refuse_what_needs_dropped_assets(map_: folium.Map) -> None:
    for element in _descendants(map_):
        if isinstance(element, _NEEDS_DROPPED):
            raise UnknownAsset(f"folium.{type(element).__name__} needs jQuery or Bootstrap, which our maps leave out")


def _descendants(element: Element) -> Iterator[Element]:
    for child in element._children.values():  # noqa: SLF001  branca lists children nowhere else
        yield child
        yield from _descendants(child)


if __name__ == "__main__":
    install_assets(Path(sys.argv[1]))
