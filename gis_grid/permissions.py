"""Who may do what, where: roles, what each permits, and scopes. Pure; the one table of powers is `POWERS`."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from gis_grid.errors import Forbidden, InvalidInput


class Role(StrEnum):
    """What somebody is to the city's grid."""

    RESIDENT = "resident"
    VOLUNTEER = "volunteer"
    PATROLLER = "patroller"
    GRID_MANAGER = "grid_manager"
    OPERATOR = "operator"
    DISPATCHER = "dispatcher"
    HANDLER = "handler"
    CHECKER = "checker"
    SUPERVISOR = "supervisor"
    PLANNER = "planner"
    ADMINISTRATOR = "administrator"


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
_SEE_ALL = OPEN_TO_ALL | {P.SEE_REPORT_DETAILS, P.SEE_CONTACTS, P.SEE_PHOTOS}

# The operator takes in and never dispatches; who handles never checks; who approves a delay is not who asks for it.
POWERS: dict[Role, frozenset[Permission]] = {
    Role.RESIDENT: OPEN_TO_ALL,
    Role.VOLUNTEER: OPEN_TO_ALL | {P.SEND_TRACK},
    Role.PATROLLER: OPEN_TO_ALL | {P.SEE_REPORT_DETAILS, P.SEE_PHOTOS, P.TAKE, P.HANDLE, P.SEND_TRACK},
    Role.GRID_MANAGER: _SEE_ALL
    | {P.SEND_TRACK, P.ACCEPT, P.FILE, P.TAKE, P.HANDLE, P.ANSWER, P.MERGE, P.TRANSFER, P.SEE_ASSESSMENT},
    Role.OPERATOR: _SEE_ALL | {P.PLACE_REPORT, P.ACCEPT, P.FILE, P.MERGE, P.ANSWER, P.CLOSE},
    Role.DISPATCHER: _SEE_ALL | {P.PLACE_REPORT, P.DISPATCH, P.MERGE, P.TRANSFER, P.EXTEND, P.SUSPEND},
    Role.HANDLER: _SEE_ALL | {P.TAKE, P.HANDLE},
    Role.CHECKER: _SEE_ALL | {P.CHECK, P.CLOSE},
    Role.SUPERVISOR: _SEE_ALL
    | {P.READ_TRACKS, P.SEE_ASSESSMENT, P.PLACE_REPORT, P.TRANSFER, P.EXTEND, P.SUSPEND, P.VOID, P.CLOSE}
    | {P.SUPERVISE, P.RULE_FINALLY, P.REFER, P.EVALUATE},
    Role.PLANNER: OPEN_TO_ALL | {P.SEE_REPORT_DETAILS, P.SEE_ASSESSMENT},
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


class OutOfScope(Forbidden):
    """The caller has no role that permits this there."""


ANONYMOUS = Caller("anonymous")
