"""`gis-grid supervise`."""

import typer

from gis_grid.cli.options import City, err, out, settings
from gis_grid.installation import open_installation, utc_now
from gis_grid.sweeping import sweep_all


def sweep(*, city: City = None) -> None:
    """Issue every act of supervision that has fallen due, once for its cause.

    The service does the same every minute; both may run at once. Exit code 1 when some could not be issued.

    Example: `gis-grid supervise sweep`
    """
    with open_installation(settings(city)) as installation:
        done = sweep_all(installation, now=utc_now())
    for case, fault in done.faults.items():
        err.print(f"case {case}: {fault}", markup=False, soft_wrap=True)
    out.print(f"{done.issued} acts issued")
    if done.faults:
        raise typer.Exit(1)
