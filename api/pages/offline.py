"""What a phone keeps of the pages of outings and reports, so that it can open them where there is no network."""

import json

from fastapi import APIRouter, Request, Response

from api.deps import Anyone, InSession, Now, TheInstallation
from api.pages import patrol, report
from api.pages.rendering import PAGE_POLICY, SafeHeaders, page
from api.pages.static_files import STATIC, static_files, static_mark, static_url
from gis_grid.permissions import ANONYMOUS

router = APIRouter()
WORKER = "worker.js"
# The worker fetches what it keeps and passes on what is asked of it, all from here.
WORKER_POLICY = "default-src 'none'; connect-src 'self'"


@router.get(f"/{WORKER}")
def worker(*, request: Request, _: Anyone, session: InSession, installation: TheInstallation, now: Now) -> Response:
    """The service worker, with the pages in the asker's language as nobody in particular sees them."""
    values = {
        "/patrol": ("patrol.html", patrol.nobodys_values(session, installation, now=now)),
        "/report": ("report.html", report.form_values(request, session, installation, now=now)),
    }
    release = {
        "mark": static_mark(),
        "files": [static_url(name) for name in static_files() if name != WORKER],
        "pages": {
            address: bytes(
                page(request, "kept.html", caller=ANONYMOUS, of=template, address=address, **kept).body
            ).decode()
            for address, (template, kept) in values.items()
        },
        "headers": {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": PAGE_POLICY,
            **SafeHeaders.HEADERS,
        },
    }
    text = f"const RELEASE = {json.dumps(release)};\n{(STATIC / WORKER).read_text('utf-8')}"
    headers = {
        "Content-Security-Policy": WORKER_POLICY,
        "Vary": "Accept-Language, Cookie",
        "Cache-Control": "private, no-cache",
    }
    return Response(text, media_type="text/javascript", headers=headers)
