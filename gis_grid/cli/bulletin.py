"""`gis-grid bulletin`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from api.documents import bulletin_html
from gis_grid.bulletin import bulletin_csv, red_cases
from gis_grid.cli.options import City, open_city, out
from gis_grid.errors import InvalidInput
from gis_grid.geo.whole_files import whole_file
from gis_grid.installation import utc_now
from gis_grid.periods import Period


def bulletin(
    output: Annotated[Path, typer.Option("-o", "--output", help="The .html or .csv file to write.")],
    *,
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    city: City = None,
) -> None:
    """Write the bulletin of the cases that turned red in a period, by unit and person.

    Example: `gis-grid bulletin --since 2026-10-01 --until 2026-10-31 -o red.html`
    """
    if output.suffix not in {".html", ".csv"}:
        raise InvalidInput(f"{output}: expected a file ending in .html or .csv")
    with open_city(city) as (installation, session):
        zone = installation.city.zone
        found = red_cases(session, Period(since.date(), until.date(), zone), now=utc_now())
        is_page = output.suffix == ".html"
        text = bulletin_html(found, installation.city) if is_page else bulletin_csv(found, zone=zone)
    with whole_file(output, is_private=True) as draft:
        draft.write_text(text, encoding="utf-8", newline="")
    told = f"{output}: {found.cases} cases turned red, {len(found.runs)} limits ran out"
    out.print(told, markup=False, soft_wrap=True)
