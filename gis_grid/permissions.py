"""Who may do what, where: roles, what each permits, and scopes. Pure; the one table of powers is `POWERS`."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from gis_grid.errors import Forbidden, InvalidInput


class Role(StrEnum):
    """What somebody is to the city's grid."""

    RESIDENT = "resident"
    VOLUNTEER = "volunteer"
    STAIRWELL_HEAD = "stairwell_head"  # 楼组长
    COMMITTEE = "committee"  # of residents who govern themselves
    PATROLLER = "patroller"
    GRID_MANAGER = "grid_manager"
    OPERATOR = "operator"
    DISPATCHER = "dispatcher"
    HANDLER = "handler"
    CHECKER = "checker"
    SUPERVISOR = "supervisor"
    PLANNER = "planner"
    REWARD_CLERK = "reward_clerk"
    ADMINISTRATOR = "administrator"


class ReporterClass(StrEnum):
    """Whom a report comes from, counted apart (多元共治)."""

    RESIDENT = "resident"
    VOLUNTEER = "volunteer"
    STAIRWELL_HEAD = "stairwell_head"
    COMMITTEE = "committee"
    STAFF = "staff"


class Permission(StrEnum):
    """What a route can ask for; the second half are the acts of a case's life."""

    SEE_PUBLIC = "see_public"
    SEND_REPORT = "send_report"
    SEE_REPORT_DETAILS = "see_report_details"  # text and exact point
    SEE_CONTACTS = "see_contacts"  # names and own phones
    SEE_PHOTOS = "see_photos"
    PLACE_REPORT = "place_report"
    MANAGE_ACCOUNTS = "manage_accounts"
    SEND_TRACK = "send_track"
    READ_TRACKS = "read_tracks"  # where a named person went
    SEE_ASSESSMENT = "see_assessment"  # bulletin, indicators, scores
    JOIN_DRILL = "join_drill"  # mark a report as part of a drill that is on
    DECLARE = "declare"  # begin and end emergencies and drills
    SETTLE_REWARD = "settle_reward"
    READ_INFORMANT = "read_informant"  # the sealed identity; each reading is logged

    ACCEPT = "accept"
    FILE = "file"
    DISPATCH = "dispatch"
    TAKE = "take"
    HANDLE = "handle"
    CHECK = "check"
    ANSWER = "answer"
    CLOSE = "close"
    MERGE = "merge"
    TRANSFER = "transfer"
    EXTEND = "extend"
    SUSPEND = "suspend"
    VOID = "void"
    SUPERVISE = "supervise"
    RULE_FINALLY = "rule_finally"
    REFER = "refer"  # to the supervision authority (监察部门), for accountability
    EVALUATE = "evaluate"  # others, in the name of one's own unit


P = Permission
OPEN_TO_ALL = frozenset({P.SEE_PUBLIC, P.SEND_REPORT})
_SEE_ALL = OPEN_TO_ALL | {P.SEE_REPORT_DETAILS, P.SEE_CONTACTS, P.SEE_PHOTOS, P.JOIN_DRILL}
_SELF_GOVERNING = OPEN_TO_ALL | {P.SEND_TRACK, P.JOIN_DRILL}

# The operator takes in and never dispatches; who handles never checks; who approves a delay is not who asks for it.
POWERS: dict[Role, frozenset[Permission]] = {
    Role.RESIDENT: OPEN_TO_ALL,
    Role.VOLUNTEER: _SELF_GOVERNING,
    Role.STAIRWELL_HEAD: _SELF_GOVERNING,
    Role.COMMITTEE: _SELF_GOVERNING,
    Role.PATROLLER: OPEN_TO_ALL | {P.SEE_REPORT_DETAILS, P.SEE_PHOTOS, P.TAKE, P.HANDLE, P.SEND_TRACK, P.JOIN_DRILL},
    Role.GRID_MANAGER: _SEE_ALL
    | {P.SEND_TRACK, P.ACCEPT, P.FILE, P.TAKE, P.HANDLE, P.ANSWER, P.MERGE, P.TRANSFER, P.SEE_ASSESSMENT},
    Role.OPERATOR: _SEE_ALL | {P.PLACE_REPORT, P.ACCEPT, P.FILE, P.MERGE, P.ANSWER, P.CLOSE},
    Role.DISPATCHER: _SEE_ALL | {P.PLACE_REPORT, P.DISPATCH, P.MERGE, P.TRANSFER, P.EXTEND, P.SUSPEND},
    Role.HANDLER: _SEE_ALL | {P.TAKE, P.HANDLE},
    Role.CHECKER: _SEE_ALL | {P.CHECK, P.CLOSE},
    Role.SUPERVISOR: _SEE_ALL
    | {P.READ_TRACKS, P.SEE_ASSESSMENT, P.PLACE_REPORT, P.TRANSFER, P.EXTEND, P.SUSPEND, P.VOID, P.CLOSE}
    | {P.SUPERVISE, P.RULE_FINALLY, P.REFER, P.EVALUATE, P.DECLARE, P.SETTLE_REWARD},
    Role.PLANNER: OPEN_TO_ALL | {P.SEE_REPORT_DETAILS, P.SEE_ASSESSMENT},
    Role.REWARD_CLERK: OPEN_TO_ALL | {P.SETTLE_REWARD, P.READ_INFORMANT},
    Role.ADMINISTRATOR: _SEE_ALL | {P.PLACE_REPORT, P.MANAGE_ACCOUNTS, P.SEND_TRACK, P.READ_TRACKS, P.SEE_ASSESSMENT},
}


class ScopeKind(StrEnum):
    """What a role is limited to."""

    ALL = "all"
    AREA = "area"
    UNIT = "unit"


@dataclass(frozen=True)
class Scope:
    """Where a role counts: everywhere, on the ground of an area or grid, or in a unit and those below it."""

    kind: ScopeKind
    code: str = ""

    def holds(self, area: Collection[str], unit: Collection[str]) -> bool:
        """Whether a thing lies in it; each collection is the code of the thing's place and all codes above that."""
        match self.kind:
            case ScopeKind.ALL:
                return True
            case ScopeKind.AREA:
                return self.code in area
            case ScopeKind.UNIT:
                return self.code in unit

    def __str__(self) -> str:
        return self.kind.value if self.kind is ScopeKind.ALL else f"{self.kind}:{self.code}"


EVERYWHERE = Scope(ScopeKind.ALL)


@dataclass(frozen=True)
class Grant:
    """A role in a scope, as it holds now."""

    role: Role
    scope: Scope = EVERYWHERE

    def __str__(self) -> str:
        return f"{self.role}:{self.scope}"


def parse_grant(text: str) -> Grant:
    """The grant that `ROLE`, `ROLE:AREA`, `ROLE:area:CODE` or `ROLE:unit:CODE` names.

    Raises
    ------
    InvalidInput
        Not of one of these forms, or a role that does not exist.
    """
    role, *scope = text.strip().split(":")
    if role not in set(Role):
        raise InvalidInput(f"role {role!r} is not one of {', '.join(Role)}")
    match scope:
        case [] | ["all"]:
            return Grant(Role(role))
        case [code] | ["area", code] if code:
            return Grant(Role(role), Scope(ScopeKind.AREA, code))
        case ["unit", code] if code:
            return Grant(Role(role), Scope(ScopeKind.UNIT, code))
    raise InvalidInput(f"{text!r} is not ROLE, ROLE:AREA, ROLE:area:CODE or ROLE:unit:CODE")


@dataclass(frozen=True)
class Caller:
    """Who asks, and what for they may.

    Attributes
    ----------
    who
        `user:LOGIN`, `key:NAME` or `anonymous`, as the change log names them.
    grants
        The roles that hold at the time of asking.
    session_id
        Of the sign-in that proved it; None for keys and the anonymous.
    doubt
        Why a credential that was sent did not count, None without such.
    """

    who: str
    grants: tuple[Grant, ...] = ()
    session_id: int | None = None
    doubt: str | None = None

    @property
    def is_anonymous(self) -> bool:
        """True for those who have not signed in."""
        return self.who == "anonymous"

    @property
    def is_key(self) -> bool:
        """True for another system's key, which is no person."""
        return self.who.startswith("key:")

    def has(self, permission: Permission) -> bool:
        """Whether they may do this anywhere at all."""
        return permission in OPEN_TO_ALL or any(permission in POWERS[grant.role] for grant in self.grants)

    def may(self, permission: Permission, *, area: Collection[str] = (), unit: Collection[str] = ()) -> bool:
        """Whether they may do this to a thing.

        Parameters
        ----------
        area
            Codes of the thing's grid, community, town and district (`gis_grid.territory.ground_of`); what lies in no
            grid has none, and is for those whose role counts everywhere.
        unit
            Codes of the thing's unit and of all units above it.
        """
        return permission in OPEN_TO_ALL or any(
            permission in POWERS[grant.role] and grant.scope.holds(area, unit) for grant in self.grants
        )

    def demand(self, permission: Permission, *, area: Collection[str] = (), unit: Collection[str] = ()) -> None:
        """Raise `OutOfScope` unless they may do this to the thing; see `may`."""
        if not self.may(permission, area=area, unit=unit):
            where = next(iter(area), None) or next(iter(unit), None) or "what lies in no grid"
            raise OutOfScope(f"{self.who} may not {permission.replace('_', ' ')} for {where}: it is out of their scope")


CLASS_OF: dict[Role, ReporterClass] = {
    Role.RESIDENT: ReporterClass.RESIDENT,
    Role.VOLUNTEER: ReporterClass.VOLUNTEER,
    Role.STAIRWELL_HEAD: ReporterClass.STAIRWELL_HEAD,
    Role.COMMITTEE: ReporterClass.COMMITTEE,
}


def reporter_class_of(caller: Caller, named: ReporterClass | None, *, is_own: bool) -> ReporterClass:
    """Whom a report comes from: whoever sends it, by their roles, or whom intake staff name.

    Nobody is believed to be more than their account says: without a sign-in, everybody is a resident.

    Parameters
    ----------
    named
        As the sender says; None where they say nothing.
    is_own
        Whether the sender found it themselves, rather than taking it down from somebody, who then is a resident.

    Raises
    ------
    Forbidden
        The sender is not of that class, and may not take reports of others down.
    """
    order = list(ReporterClass)
    classes = [CLASS_OF.get(grant.role, ReporterClass.STAFF) for grant in caller.grants]
    own = max(classes, key=order.index, default=ReporterClass.RESIDENT)
    if named is None:
        return own if is_own else ReporterClass.RESIDENT
    if named in {own, ReporterClass.RESIDENT} or (named is not ReporterClass.STAFF and caller.has(P.ACCEPT)):
        return named
    raise Forbidden(f"reporter_class: {caller.who} is no {named.value}, and may not take reports of others down")


class OutOfScope(Forbidden):
    """The caller has no role that permits this there."""


ANONYMOUS = Caller("anonymous")
