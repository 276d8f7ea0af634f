"""The page of rewards for tip-offs: what waits for its check, what is due, the steps, and the ledger."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.deps import InSession, TheCity
from api.pages.figures import type_names
from api.pages.rendering import page
from api.pages.words import SYNTHETIC_PARTS, message
from api.routers.rewards import Settler, settled_by
from gis_grid.cases import Case
from gis_grid.permissions import Permission
from gis_grid.rewards import RewardStep, candidates, ledger, unpaid, unverified

router = APIRouter()
STEPS = {
    RewardStep.GRANTED: message("准予奖励"),
    RewardStep.PAID: message("发放"),
    RewardStep.REFUSED: message("不予奖励"),
}
DONE = {
    RewardStep.GRANTED: message("已准予"),
    RewardStep.PAID: message("已发放"),
    RewardStep.REFUSED: message("已不予"),
}
LEDGER_LISTED = 200


@router.get("/rewards", response_class=HTMLResponse)
def rewards_page(*, request: Request, caller: Settler, session: InSession, city: TheCity) -> HTMLResponse:
    """Rewards where the caller's role counts; who tipped off is opened by one role alone, and each time is kept."""
    theirs = settled_by(caller)
    due = [one for one in candidates(session) if theirs(one.case)]
    granted = [(entry, case) for entry, case in unpaid(session) if theirs(case)]
    waiting = [case for case in unverified(session) if theirs(case)]
    entries = [(entry, case) for entry, case in ledger(session, limit=LEDGER_LISTED) if theirs(case)]
    cases = [*(one.case for one in due), *waiting, *(case for _, case in (*granted, *entries))]
    return page(
        request,
        "rewards.html",
        caller=caller,
        due=due,
        granted=granted,
        waiting=waiting,
        entries=entries,
        paid_yuan=sum(entry.amount_yuan for entry, _ in entries if entry.step == RewardStep.PAID),
        steps=STEPS,
        done=DONE,
        may_open=lambda case: not caller.is_key and caller.may(Permission.READ_INFORMANT, area=case.ground),
        types=type_names(session, request),
        zone=city.time_zone,
        synthetic=_synthetic(cases),
    )


def _synthetic(cases: Sequence[Case]) -> list[Any]:
    return [SYNTHETIC_PARTS["cases"]] if any(case.is_synthetic for case in cases) else []
