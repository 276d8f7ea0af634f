"""The page that a report is sent from, made for a phone."""

from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from api.deps import Anyone, InSession, Json, Now, TheInstallation
from api.pages.figures import event_types
from api.pages.language import Language, language_of
from api.pages.rendering import page
from api.pages.words import FAMILIES
from gis_grid.installation import Installation
from gis_grid.intake import district_bounds
from gis_grid.photos import MAX_BYTES, MAX_PER_REPORT, MAX_PIXELS
from gis_grid.reports import Kind

router = APIRouter()


@router.get("/report", response_class=HTMLResponse)
def report_form(
    *, request: Request, caller: Anyone, session: InSession, installation: TheInstallation, now: Now
) -> HTMLResponse:
    """The form; all that it sends goes through the JSON API, so that it can be sent again."""
    return page(request, "report.html", caller=caller, **form_values(request, session, installation, now=now))


def form_values(request: Request, session: Session, installation: Installation, *, now: datetime) -> Json:
    """What the form's template is filled with, the same for everybody."""
    is_chinese = language_of(request) is Language.CHINESE
    kinds = event_types(session)
    named = [(kind, kind.name if is_chinese else kind.name_en) for kind in kinds]
    setup = {
        "bounds": district_bounds(session, at=now),
        "photos": {"max": MAX_PER_REPORT, "bytes": MAX_BYTES, "pixels": MAX_PIXELS},
        "tip_offs": bool(installation.settings.informant_keys),
        "types": [{"code": kind.code, "parent": kind.parent_code, "name": name} for kind, name in named],
    }
    classes = {
        title: [(kind.code, name) for kind, name in named if kind.parent_code is None and kind.family == family]
        for family, title in FAMILIES.items()
    }
    return {"setup": setup, "classes": classes, "kinds": list(Kind)}
