"""`gis-grid assess`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from gis_grid.assessment import Assessment, KeptCounts, assess, assessment_csv
from gis_grid.cli.options import City, open_city, out
from gis_grid.counted_steps import By
from gis_grid.errors import InvalidInput
from gis_grid.geo.whole_files import whole_file
from gis_grid.indicators import INDICATORS, parts, percent
from gis_grid.installation import utc_now
from gis_grid.periods import Period

SHOWN = ("filing_rate", "closing_rate", "closing_in_time_rate", "handling_in_time_rate", "rework_rate", "return_rate")
OF_PATROLS = ("valid_report_rate", "missing_rate", "coverage_rate")


def assess_month(
    month: Annotated[str, typer.Argument(help="Such as 2026-10.")],
    *,
    by: Annotated[By, typer.Option(help="Whom or what the figures are for.")] = By.UNIT,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A .csv file with every indicator.")] = None,
    city: City = None,
) -> None:
    """Recompute the indicators and scores of a month from the log of cases.

    Example: `gis-grid assess 2026-10 --by town -o october.csv`
    """
    if output is not None and output.suffix != ".csv":
        raise InvalidInput(f"{output}: expected a file ending in .csv")
    with open_city(city) as (installation, session):
        period, kept = Period.month(month, installation.city.zone), KeptCounts(installation.city)
        assessment = assess(session, period, by, now=utc_now(), kept=kept)
    if output is not None:
        with whole_file(output, is_private=True) as draft:
            draft.write_text(assessment_csv(assessment), encoding="utf-8", newline="")
        out.print(f"{output}: {len(assessment.rows)} assessed", markup=False)
        return
    out.print(_table(assessment))


def _table(assessment: Assessment) -> Table:
    shown = OF_PATROLS if assessment.by is By.PATROLLER else SHOWN
    table = Table("", *(INDICATORS[name].name for name in shown), "得分 score", "收缩排名 shrunk rank", box=None)
    for row in assessment.rows:
        shares = [percent(*parts(row.counts, INDICATORS[name])) for name in shown]
        score = f"{row.score.points:.2f} × {row.score.platform_share:g}" if row.score else ""
        table.add_row(row.name, *shares, score, str(row.shrunk_rank or ""))
    return table
