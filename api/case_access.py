"""Which steps somebody may take on a case: the permission is the step's, the scope is the case's ground and unit."""

from datetime import datetime

from sqlalchemy.orm import Session

from gis_grid.case_deciding import ACTIONS, permission_for
from gis_grid.case_side_steps import Merge
from gis_grid.case_steps import Step
from gis_grid.cases import Case
from gis_grid.errors import Forbidden
from gis_grid.permissions import Caller, Permission
from gis_grid.units import find_units, units_above

# Another system can hand cases in; every further step binds a person.
FOR_KEYS = frozenset({"accept", "file"})


def demand_step(session: Session, caller: Caller, cases: list[Case], step: Step, *, now: datetime) -> None:
    """Raise `Forbidden` unless a caller may take a step on the first of some cases; for a merge, on both."""
    refuse_key(caller, step.action)
    for case in cases if isinstance(step, Merge) else cases[:1]:
        permission = Permission(permission_for(step.action, case.read_state()))
        caller.demand(permission, area=case.ground, unit=unit_chain(session, case, now=now))


def refuse_key(caller: Caller, action: str) -> None:
    """Raise `Forbidden` where a system's key asks for what only a person does."""
    if caller.is_key and action not in FOR_KEYS:
        raise Forbidden(f"{caller.who} is a system's key: {action} is a step that a person takes")


def unit_chain(session: Session, case: Case, *, now: datetime) -> tuple[str, ...]:
    """Codes of the unit that a case is with and of those above it, the nearest first; empty without one."""
    unit = find_units(session, [case.unit], at=now).get(case.unit) if case.unit else None
    return () if unit is None else (unit.code, *(over.code for over in units_above(session, unit, at=now)))


def may_dispatch(session: Session, caller: Caller, case: Case, *, now: datetime) -> bool:
    """Whether a person may dispatch a case, and so plan and call off joint operations over it."""
    if caller.is_key or not caller.has(Permission.DISPATCH):
        return False
    return caller.may(Permission.DISPATCH, area=case.ground, unit=unit_chain(session, case, now=now))


def allowed_actions(session: Session, caller: Caller, case: Case, *, now: datetime) -> set[str]:
    """The actions that a caller's roles permit on a case, whether or not they follow from where it stands."""
    chain = unit_chain(session, case, now=now)
    return {
        action
        for action, permission in ACTIONS.items()
        if (not caller.is_key or action in FOR_KEYS)
        and caller.may(Permission(permission), area=case.ground, unit=chain)
    }
