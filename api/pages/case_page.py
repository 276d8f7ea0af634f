"""The page of one case: what it is, where it stands, all its steps, and the forms of the next ones."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData, UploadFile

from api.case_access import demand_step, may_dispatch, refuse_key, unit_chain
from api.deps import Anyone, InSession, Now, Plain, TheActor, TheCity, TheInstallation, view_of
from api.errors import fields_of, status_of
from api.pages import case_forms
from api.pages.case_forms import StepForm, forms_for, missing, read_step
from api.pages.case_rows import Row, rows_of, words
from api.pages.case_words import ACTIONS, LEVELS, SAID, VALUES
from api.pages.refusals import told, told_faults
from api.pages.rendering import page, say
from api.pages.words import SYNTHETIC_PARTS, message
from api.routers.cases import CaseName, Staff
from api.routers.exchange import Transferer
from gis_grid import case_steps
from gis_grid.case_deciding import ANY_STEP
from gis_grid.case_side_steps import JoinOperation
from gis_grid.case_state import CaseClock, CaseState
from gis_grid.cases import Case, CaseLogEntry, Superseded, lock_cases, log_of, needed_cases, take_step, the_case
from gis_grid.city import City
from gis_grid.clocks import Light
from gis_grid.database import By
from gis_grid.errors import Forbidden, GridError, InvalidInput
from gis_grid.exchange import checked_peer
from gis_grid.exchange_peers import PEERS
from gis_grid.exchange_sending import PassedUpAlready, pass_up, place_of
from gis_grid.installation import Installation
from gis_grid.joint_operations import operations_of
from gis_grid.permissions import Caller, OutOfScope, Permission
from gis_grid.photos import MAX_BYTES, MAX_WITH_STAFF, NotAPhoto, add_photo, photos_of
from gis_grid.spot_cases import seen_again, spot_of_case
from gis_grid.units import enforcement_body, find_units

router = APIRouter(prefix="/cases")
REFUSALS: Mapping[type[GridError], str] = {
    case_steps.Suspended: message("案件已挂账，先恢复办理。"),
    case_steps.NotAttempted: message("居村要先记录一次先行处置（紧急的除外）。"),
    case_steps.RulingNeeded: message("已多次退单，要由上级终裁。"),
    case_steps.RuledFinally: message("终裁已定单位，不能再退或改派。"),
    case_steps.LoopNotClosed: message("处置、核查、答复齐了才能结案。"),
    case_steps.NoAfterPhoto: message("缺少合格的处置后照片：要在派遣之后、在现场附近拍摄。"),
    case_steps.PhotoUnproved: message("照片没有拍摄地点或时间，通过核查要勾选确认。"),
    case_steps.SamePerson: message("处置人不能核查，申请人不能审批。"),
    case_steps.DutyMissing: message("居村办理要选一项前端职责。"),
    case_steps.AlreadyAsked: message("已有申请待批，或没有待批的申请。"),
    case_steps.IllegalStep: message("案件现在的状态下不能这样办。"),
    PassedUpAlready: message("已经送出，对方没有退回，不能再送。"),
    NotAPhoto: message("照片不能用：要完整的 JPEG、PNG 或 WebP，不超过10 MB。"),
    OutOfScope: message("不在您的职责范围内。"),
}


@dataclass(frozen=True)
class Refusal:
    """Why a step was not taken: in words, with what the rules said, and what had been typed."""

    action: str
    why: str
    detail: str
    typed: Mapping[str, str]


@dataclass(frozen=True)
class Clock:
    """One of the two clocks as the page tells it."""

    name: str
    clock: CaseClock
    light: Light | None


@dataclass(frozen=True)
class Told:
    """A step of the log in words; `lines` are label and value, both messages or what a person wrote."""

    entry: CaseLogEntry
    title: str
    unit: str | None
    lines: tuple[tuple[str, str], ...]
    photo: str | None


@router.get("/{case}", response_class=HTMLResponse)
def case_page(
    *,
    case: CaseName,
    request: Request,
    caller: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    done: Annotated[str | None, Query(pattern="^[a-z_]{1,20}$")] = None,
) -> HTMLResponse:
    """One case; the public sees where it stands, staff in whose scope it lies also what it is about."""
    return _page(request, caller, session, the_case(session, case), city, now=now, done=done)


def _page(
    request: Request,
    caller: Caller,
    session: Session,
    case: Case,
    city: City,
    *,
    now: datetime,
    done: str | None = None,
    refusal: Refusal | None = None,
    status: int = 200,
) -> HTMLResponse:
    state, view = case.read_state(), view_of(caller, case.ground)
    (row,) = rows_of(session, caller, [case], now=now)
    forms = [] if view.is_public else forms_for(session, caller, case, state, now=now)
    unit = find_units(session, [case.unit], at=now).get(case.unit) if case.unit else None
    sees_photos = caller.may(Permission.SEE_PHOTOS, area=case.ground)
    sees_contacts = caller.may(Permission.SEE_CONTACTS, area=case.ground)
    return page(
        request,
        "case.html",
        caller=caller,
        view=view,
        status=status,
        case=case,
        state=state,
        row=row,
        now=now,
        unit=unit,
        body=enforcement_body(session, unit, at=now) if unit is not None else None,
        level=LEVELS[state.level] if state.level else None,
        clocks=_clocks(state, row, now),
        told=[
            _told(session, entry, city, now=now, is_public=view.is_public) for entry in reversed(log_of(session, case))
        ],
        photos=photos_of(session, case.report_id) if sees_photos else [],
        contact=case.report.reporter if sees_contacts else None,
        operations=[] if view.is_public else operations_of(session, case),
        spot=(spot := spot_of_case(session, case)),
        seen=seen_again(session, spot, city=city, now=now) if spot else None,
        forms=forms,
        values=VALUES,
        may_plan=_may_plan(session, caller, case, state, now=now),
        may_pass_up=_may_pass_up(session, caller, case, now=now),
        peers=PEERS,
        done=ACTIONS.get(done or ""),
        refusal=refusal,
        is_typed_for=refusal.action if refusal else None,
        max_bytes=MAX_BYTES,
        synthetic=[SYNTHETIC_PARTS["cases"]] if case.is_synthetic else [],
        **words(session, request),
    )


def _clocks(state: CaseState, row: Row, now: datetime) -> list[Clock]:
    named = ((row.next, state.step), (VALUES["whole"], state.whole))
    is_running = state.stage.is_open
    return [Clock(name, clock, clock.light(now) if is_running else None) for name, clock in named if clock is not None]


def _told(session: Session, entry: CaseLogEntry, city: City, *, now: datetime, is_public: bool) -> Told:
    said = {} if is_public else dict(entry.said)
    lines = []
    for name, label in SAID.items():
        value = said.get(name)
        if value in (None, "", False) or (name == "proposed_unit" and value == said.get("unit")):
            continue
        lines.append((label, _value(session, name, value, city, now=now)))
    unit = find_units(session, [entry.unit], at=now).get(entry.unit) if entry.unit else None
    photo = said.get("after_photo")
    return Told(entry, ACTIONS.get(entry.action, entry.action), unit.name if unit else entry.unit, tuple(lines), photo)


def _value(session: Session, name: str, value: Any, city: City, *, now: datetime) -> str:
    if name in {"unit", "proposed_unit"}:
        unit = find_units(session, [str(value)], at=now).get(str(value))
        return unit.name if unit else str(value)
    if name == "photo_taken_at":
        return f"{datetime.fromisoformat(value).astimezone(city.zone):%Y-%m-%d %H:%M}"
    if name == "photo_distance_m":
        return f"{value:.0f}"
    return VALUES.get(str(value), str(value))


async def _sent(request: Request) -> AsyncIterator[FormData]:
    async with request.form() as form:
        yield form


@router.post("/{case}/steps", response_class=HTMLResponse)
def step(
    *,
    case: CaseName,
    request: Request,
    caller: Staff,
    by: TheActor,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    sent: Annotated[FormData, Depends(_sent)],
) -> Response:
    """Take a step; a refusal is told above its form, with what was typed."""
    action = str(sent.get("action", ""))
    if action not in case_forms.STEPS:
        raise InvalidInput("action: no such step", fields=("action",))
    refuse_key(caller, action)
    found = the_case(session, case)
    caller.demand(Permission.SEE_REPORT_DETAILS, area=found.ground)
    form = next(
        (form for form in forms_for(session, caller, found, found.read_state(), now=now) if form.action == action), None
    )
    form = form or case_forms.form_of(session, found, found.read_state(), action, now=now)
    try:
        with session.begin_nested():
            _take(session, caller, found, form, sent, city=city, installation=installation, by=by, now=now)
    except (GridError, ValidationError) as error:
        session.expire_all()
        refusal = _refusal(request, session, found, form, sent=sent, error=error, city=city)
        status = status_of(error) if isinstance(error, GridError) else 422
        return _page(request, caller, session, found, city, now=now, refusal=refusal, status=status)
    return RedirectResponse(f"/cases/{found.name}?done={action}", 303)


def _may_pass_up(session: Session, caller: Caller, case: Case, *, now: datetime) -> bool:
    """Whether a caller may hand the case to the city or to 110 as it stands."""
    can_be = case.serial is not None and case.closed_at is None and not case.is_drill
    if not can_be or caller.is_key or not caller.has(Permission.TRANSFER):
        return False
    return caller.may(Permission.TRANSFER, area=case.ground, unit=unit_chain(session, case, now=now))


def _may_plan(session: Session, caller: Caller, case: Case, state: CaseState, *, now: datetime) -> bool:
    """Whether a caller may make the case part of a joint operation as it stands."""
    is_open = state.stage in JoinOperation.STAGES and not state.is_suspended
    return is_open and may_dispatch(session, caller, case, now=now)


@router.post("/{case}/pass-up", response_class=HTMLResponse)
def pass_case_up(
    *,
    case: CaseName,
    request: Request,
    caller: Transferer,
    by: TheActor,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    to: Annotated[str, Form(max_length=20), Plain] = "12345",
    reason: Annotated[str, Form(max_length=1000), Plain] = "",
) -> Response:
    """Hand a case to the city or to 110; a refusal is told above the page, with what was typed."""
    refuse_key(caller, "pass_up")
    (locked,) = lock_cases(session, [case])
    caller.demand(Permission.TRANSFER, area=locked.ground, unit=unit_chain(session, locked, now=now))
    peer = checked_peer(to)
    try:
        if not reason.strip():
            raise InvalidInput("reason: is empty", fields=("reason",))
        with session.begin_nested():
            pass_up(session, locked, to=peer, reason=reason.strip(), place=place_of(installation), by=by, now=now)
    except GridError as error:
        session.expire_all()
        why = next((words for kind, words in REFUSALS.items() if isinstance(error, kind)), message("没有办理。"))
        refusal = Refusal("pass_up", say(request, why), told(request, str(error)), {"reason": reason})
        return _page(request, caller, session, locked, city, now=now, refusal=refusal, status=status_of(error))
    return RedirectResponse(f"/cases/{locked.name}?done=pass_up", 303)


class _Missing(InvalidInput):
    """Fields of a form that must be filled in."""

    def __init__(self, labels: list[str]) -> None:
        super().__init__(", ".join(labels))
        self.labels = labels


def _take(
    session: Session,
    caller: Caller,
    case: Case,
    form: StepForm,
    sent: FormData,
    *,
    city: City,
    installation: Installation,
    by: By,
    now: datetime,
) -> None:
    if labels := missing(form, sent):
        raise _Missing(labels)
    asked = read_step(form, sent)
    if asked.get("expected_seq") is None:
        raise InvalidInput("expected_seq: the number of the last step you have seen is missing")
    step = ANY_STEP.validate_python(asked)
    cases = lock_cases(session, needed_cases(case.name, step))
    demand_step(session, caller, cases, step, now=now)
    photo = _photo(sent)
    if form.action == "handle" and photo is not None and step.expected_seq == cases[0].seq:
        stored = add_photo(
            session, case.report_id, photo, folder=installation.photos, by=by, now=now, at_most=MAX_WITH_STAFF
        )
        step = ANY_STEP.validate_python(asked | {"after_photo": stored.sha256})
    take_step(session, cases, step, city=city, photos=installation.photos, by=by, now=now)


def _photo(sent: FormData) -> bytes | None:
    """The first photo of a form that offers a camera and an album."""
    for upload in sent.getlist("photo"):
        if isinstance(upload, UploadFile) and (data := upload.file.read(MAX_BYTES + 1)):
            return data
    return None


def _refusal(
    request: Request,
    session: Session,
    case: Case,
    form: StepForm,
    *,
    sent: FormData,
    error: GridError | ValidationError,
    city: City,
) -> Refusal:
    typed = {field.name: text for field in form.fields if isinstance(text := sent.get(field.name), str)}
    typed = {name: text.encode("utf-8", "replace").decode().replace("\0", "") for name, text in typed.items()}
    if isinstance(error, _Missing):
        named = say(request, "、").join(say(request, label) for label in error.labels)
        return Refusal(form.action, say(request, "请填写：%(fields)s", fields=named), "", typed)
    if isinstance(error, ValidationError):
        detail = told_faults(request, fields_of(error.errors()))
        return Refusal(form.action, say(request, "填写有误，没有办理。"), detail, typed)
    if isinstance(error, Superseded):
        return Refusal(form.action, _who_was_first(request, session, case, city), "", typed)
    why = next((words for kind, words in REFUSALS.items() if isinstance(error, kind)), None)
    if why is None:
        why = message("没有权限。") if isinstance(error, Forbidden) else message("没有办理。")
    return Refusal(form.action, say(request, why), told(request, str(error)), typed)


def _who_was_first(request: Request, session: Session, case: Case, city: City) -> str:
    last = session.get_one(CaseLogEntry, (case.id, case.seq))
    return say(
        request,
        "%(who)s 已在 %(at)s 先办了“%(what)s”。请看过最新进展，再决定是否继续。",
        who=last.who.partition(":")[2] or last.who,
        at=f"{last.at.astimezone(city.zone):%m-%d %H:%M}",
        what=say(request, ACTIONS.get(last.action, last.action)),
    )
