"""Documents to print and to send on: single HTML files that load nothing."""

from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gis_grid.bulletin import Bulletin
from gis_grid.city import City

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def bulletin_html(bulletin: Bulletin, city: City) -> str:
    """The bulletin of red cases as one HTML file, in both languages, times on the city's clock."""

    def when(at: datetime) -> str:
        return f"{at.astimezone(city.zone):%Y-%m-%d %H:%M}"

    return _ENVIRONMENT.get_template("bulletin.html").render(bulletin=bulletin, city=city, when=when)
