"""What a step on a case is decided by besides the case: rules in force, and facts found out about it; pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gis_grid.case_state import CaseLevel, CaseState, Responsibility, Stage
from gis_grid.clocks import Calendar, Limit, Thresholds
from gis_grid.errors import InvalidInput
from gis_grid.supervision_acts import ActRule


@dataclass(frozen=True)
class CaseRules:
    """The rules for one event type and urgency at one time.

    Attributes
    ----------
    steps
        How long a case may stay in a stage; a stage without a limit has no step clock.
    after_photo_m
        How far from the place the photo of the disposal may be taken.
    returns_before_ruling
        The refusal after which only a final ruling sends the case on.
    acts
        Which act of supervision falls due when.
    """

    calendar: Calendar
    thresholds: Thresholds
    whole: Limit
    steps: Mapping[Stage, Limit]
    after_photo_m: float = 200.0
    returns_before_ruling: int = 3
    acts: tuple[ActRule, ...] = ()


@dataclass(frozen=True)
class PhotoFacts:
    """What the metadata of an after-photo tell; None for what they do not."""

    sha256: str
    distance_m: float | None
    taken_at: datetime | None


@dataclass(frozen=True)
class Addressee:
    """Who is told of an act of supervision: a unit, or with `post` the holder of a post in it.

    Attributes
    ----------
    holder_id
        Row of `post_holders`; None for a unit, and for a post that nobody holds.
    """

    unit: str
    post: str | None = None
    holder_id: int | None = None


def _no_serial() -> str:
    raise InvalidInput("a serial number cannot be given here")


@dataclass(frozen=True)
class Facts:
    """What a step needs to know besides the case.

    Attributes
    ----------
    start_unit, start_level
        The lowest queue that can act: the community's workstation where there is one.
    town_unit, dispatch_unit
        Who takes land that nobody owns, and whose queue an escalated case goes to.
    proposed_unit
        What the routing proposes; None where it has no rule.
    evidence
        What the placement says about whose ground it is; a refusal carries it.
    other
        The case to merge into.
    told
        Who is told of an act of supervision: units, and posts of units; never a phone.
    next_serial
        The next serial number of the day, taken only when the case is filed.
    situation
        The emergency or drill whose rules these are; None in routine.
    """

    rules: CaseRules
    start_unit: str | None = None
    start_level: CaseLevel = CaseLevel.DISTRICT
    town_unit: str | None = None
    dispatch_unit: str | None = None
    proposed_unit: str | None = None
    responsible: Responsibility | None = None
    evidence: Mapping[str, Any] | None = None
    photo: PhotoFacts | None = None
    other: CaseState | None = None
    told: tuple[Addressee, ...] = ()
    next_serial: Callable[[], str] = field(default=_no_serial)
    situation: int | None = None
