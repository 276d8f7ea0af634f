"""Accountability (问责): the log gives grounds, the software proposes, a person refers to the supervision authority.

Nothing is referred by itself. The causes are the article's; which ground suggests which cause is ours. From how many
times on is dated data (`gis_grid.case_numbers`), and counts as it was when it happened.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.bulletin import RedRun, red_cases
from gis_grid.case_numbers import CaseNumbers, numbers_at
from gis_grid.cases import Case, CaseLogEntry
from gis_grid.database import Base, By, sql
from gis_grid.dated import one_of
from gis_grid.errors import Conflict, Forbidden, InvalidInput
from gis_grid.periods import Period
from gis_grid.units import Post, Unit

WORDS_MOST = 2000
EVIDENCE_MOST = 100


class Cause(StrEnum):
    """What somebody is referred for."""

    RED_OVERDUE = "红灯超时"
    INEFFICIENT = "效率低下"
    DELAYED = "工作延误"
    SHIRKED = "推诿扯皮"
    PERFUNCTORY = "敷衍塞责"


class Ground(StrEnum):
    """What in the log a proposal rests on."""

    RED_OVERRUN = "red_overrun"  # a clock ran out
    MANY_RED = "many_red"  # clocks ran out in many cases of one unit
    QUESTION_UNANSWERED = "question_unanswered"  # 问效 was issued, and the case stayed where it was
    PASSED_ROUND = "passed_round"  # returned or transferred again and again
    REWORKED = "reworked"  # failed its check again and again


CAUSE_OF = {
    Ground.RED_OVERRUN: Cause.RED_OVERDUE,
    Ground.MANY_RED: Cause.INEFFICIENT,
    Ground.QUESTION_UNANSWERED: Cause.DELAYED,
    Ground.PASSED_ROUND: Cause.SHIRKED,
    Ground.REWORKED: Cause.PERFUNCTORY,
}


class Evidence(NamedTuple):
    """One row of a case's log, by the case's serial number and the step."""

    case: str
    seq: int

    def __str__(self) -> str:
        return f"{self.case}#{self.seq}"


@dataclass(frozen=True)
class Proposal:
    """What the log gives a ground for.

    Attributes
    ----------
    unit
        Code of the unit that had the case.
    person
        Who had it there, as `user:LOGIN`, or a post of the unit; None where the log names nobody.
    at
        When the last of it happened.
    is_referred
        Whether a row of the evidence was referred already for this unit and cause.
    """

    ground: Ground
    unit: str
    person: str | None
    evidence: tuple[Evidence, ...]
    at: datetime
    is_referred: bool = False

    @property
    def cause(self) -> Cause:
        """The cause that the ground suggests; who refers decides."""
        return CAUSE_OF[self.ground]

    @property
    def cases(self) -> list[str]:
        """Serial numbers of the cases it is about, each once."""
        return sorted({one.case for one in self.evidence})


class Referral(Base):
    """That somebody referred a unit, or a person in it, for a cause; rows are only ever added.

    Attributes
    ----------
    evidence
        Rows of the log as they were found then: case, seq, at, action, who, unit.
    """

    __tablename__ = "referrals"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    unit_code: Mapped[str]
    person: Mapped[str | None]
    cause: Mapped[str]
    legal_duty: Mapped[str]
    adverse_effect: Mapped[str]
    evidence: Mapped[list[dict[str, Any]]] = mapped_column(JSONB(none_as_null=True))
    evidence_sha256: Mapped[str]
    referred_by: Mapped[str]
    referred_at: Mapped[datetime]
    channel: Mapped[str]
    request_id: Mapped[str]

    __table_args__ = (
        sa.UniqueConstraint("unit_code", "cause", "evidence_sha256", name="uq_referrals_unit_code"),
        sa.Index("ix_referrals_referred_at", "referred_at", "id"),
        sa.CheckConstraint(one_of("cause", Cause), name="cause"),
        sa.CheckConstraint("btrim(legal_duty) <> ''", name="legal_duty"),
        sa.CheckConstraint("btrim(adverse_effect) <> ''", name="adverse_effect"),
        sa.CheckConstraint("jsonb_array_length(evidence) > 0", name="evidence"),
        sa.CheckConstraint("person <> referred_by", name="self"),
    )


class ReferredAlready(Conflict):
    """The same unit was referred for the same cause with the same evidence."""


class OwnCase(Forbidden):
    """Nobody refers themselves, nor a case that they had a hand in."""


@dataclass(frozen=True)
class NewReferral:
    """What a person states who refers; parameters as the columns of `Referral`."""

    unit: str
    cause: Cause
    legal_duty: str
    adverse_effect: str
    evidence: tuple[Evidence, ...]
    person: str | None = None


def proposals(session: Session, period: Period, *, now: datetime) -> list[Proposal]:
    """What the log of a period gives grounds for, the latest first; drills give none."""
    red = red_cases(session, period, now=now).runs
    unstated = vars(CaseNumbers())
    given = {name: unstated[name] for name in ("returns_before_referral", "reworks_before_referral")}
    given |= {"question_unanswered_h": unstated["question_unanswered_h"]}
    window = {"since": period.since, "as_of": min(period.until, now)}
    rows = session.execute(sql("referral_grounds"), window | given).mappings()
    others = (
        Proposal(
            Ground(row["ground"]),
            row["unit"],
            row["person"],
            tuple(Evidence(row["serial"], seq) for seq in row["seqs"]),
            row["at"],
        )
        for row in rows
    )
    found = [*_of_red_runs(red), *_of_many(session, red), *others]
    known = _referred(session)
    marked = (
        Proposal(
            one.ground, one.unit, one.person, one.evidence, one.at,
            any((one.unit, one.cause.value, str(row)) in known for row in one.evidence),
        )
        for one in found
    )  # fmt: skip
    return sorted(marked, key=lambda one: (-one.at.timestamp(), one.ground, one.unit, one.cases))


def _of_red_runs(runs: Iterable[RedRun]) -> Iterator[Proposal]:
    """One for each case that turned red with a unit, whichever of its clocks did."""
    had = sorted((run for run in runs if run.unit), key=_case_of)
    for (unit, serial), turned in groupby(had, key=_case_of):
        each = list(turned)
        rows = dict.fromkeys(Evidence(serial, seq) for run in each for seq in (run.due_seq, run.had_seq))
        yield Proposal(Ground.RED_OVERRUN, unit, _person(each), tuple(rows), max(run.red_at for run in each))


def _case_of(run: RedRun) -> tuple[str, str]:
    return run.unit or "", run.serial


def _of_many(session: Session, runs: Iterable[RedRun]) -> Iterator[Proposal]:
    """One for each unit in which many cases turned red, as many as it took then; the first row of each case."""
    had = sorted((run for run in runs if run.unit), key=_case_of)
    for unit, turned in groupby(had, key=lambda run: run.unit or ""):
        first = {run.serial: run for run in reversed(list(turned))}
        last = max(run.red_at for run in first.values())
        if len(first) >= numbers_at(session, at=last).red_cases_before_referral:
            rows = [Evidence(run.serial, run.due_seq) for run in sorted(first.values(), key=lambda run: run.red_at)]
            yield Proposal(Ground.MANY_RED, unit, None, tuple(rows[-EVIDENCE_MOST:]), last)


def _person(runs: Sequence[RedRun]) -> str | None:
    last = max(runs, key=lambda run: run.red_at)
    return last.taker or last.post


def _referred(session: Session) -> set[tuple[str, str, str]]:
    """Unit, cause and row of the log of all that was referred."""
    rows = session.execute(sa.select(Referral.unit_code, Referral.cause, Referral.evidence))
    return {(unit, cause, f"{one['case']}#{one['seq']}") for unit, cause, evidence in rows for one in evidence}


def refer(session: Session, new: NewReferral, *, by: By, now: datetime) -> Referral:
    """Store that a person refers a unit; to be called once their power over each case of the evidence is proved.

    Raises
    ------
    InvalidInput
        Naming the field: one that is empty, evidence that is not in the log, a unit or a person that the log of these
        cases does not name.
    OwnCase
        Who refers is who is referred, or took a step that the evidence consists of, or handled one of the cases.
    ReferredAlready
        The same was referred before.
    """
    _demand_words(new)
    rows = _rows_of(session, new.evidence)
    _demand_named(session, new, rows, at=now)
    _demand_other(new, rows, by=by)
    evidence = [
        {
            "case": case.name,
            "seq": row.seq,
            "at": row.at.isoformat(),
            "action": row.action,
            "who": row.who,
            "unit": row.unit,
        }
        for case, row in rows
    ]
    key = ",".join(sorted(f"{one['case']}#{one['seq']}" for one in evidence))
    referral = Referral(
        unit_code=new.unit,
        person=new.person,
        cause=new.cause.value,
        legal_duty=new.legal_duty.strip(),
        adverse_effect=new.adverse_effect.strip(),
        evidence=evidence,
        evidence_sha256=hashlib.sha256(key.encode()).hexdigest(),
        referred_by=by.who,
        referred_at=now,
        channel=by.channel,
        request_id=by.request_id,
    )
    try:
        with session.begin_nested():
            session.add(referral)
            session.flush()
    except IntegrityError as error:
        raise ReferredAlready(f"unit {new.unit} was referred for {new.cause} with this evidence already") from error
    return referral


def _demand_words(new: NewReferral) -> None:
    for field in ("unit", "legal_duty", "adverse_effect"):
        text = getattr(new, field)
        if not text.strip():
            raise InvalidInput(f"{field}: is empty; a referral names it", fields=(field,))
        if len(text) > WORDS_MOST:
            raise InvalidInput(f"{field}: is longer than {WORDS_MOST} characters", fields=(field,))
    if not new.evidence:
        raise InvalidInput("evidence: is empty; a referral rests on rows of the log", fields=("evidence",))
    if len(new.evidence) > EVIDENCE_MOST:
        raise InvalidInput(f"evidence: more than {EVIDENCE_MOST} rows", fields=("evidence",))


def cases_of(session: Session, evidence: Iterable[Evidence]) -> list[Case]:
    """The cases that rows of the log belong to, by id; raises `InvalidInput` for one that there is not."""
    names = {one.case for one in evidence}
    cases = list(session.scalars(sa.select(Case).where(Case.serial.in_(names)).order_by(Case.id)))
    missing = sorted(names - {case.serial for case in cases})
    if missing:
        raise InvalidInput(f"evidence: there is no case {missing[0][:40]}", fields=("evidence",))
    return cases


def _rows_of(session: Session, evidence: Iterable[Evidence]) -> list[tuple[Case, CaseLogEntry]]:
    """The rows of the log that are named, each once; a drill's are none."""
    evidence = list(dict.fromkeys(evidence))
    cases = {case.name: case for case in cases_of(session, evidence)}
    drills = sa.select(Case.id).where(Case.drill_id.is_not(None))
    keys = [(cases[one.case].id, one.seq) for one in evidence]
    query = sa.select(CaseLogEntry).where(sa.tuple_(CaseLogEntry.case_id, CaseLogEntry.seq).in_(keys))
    found = {(row.case_id, row.seq): row for row in session.scalars(query.where(CaseLogEntry.case_id.not_in(drills)))}
    for one, key in zip(evidence, keys, strict=True):
        if key not in found:
            raise InvalidInput(f"evidence: {one} is no row of the log that counts", fields=("evidence",))
    return [(cases[one.case], found[key]) for one, key in zip(evidence, keys, strict=True)]


def _demand_named(
    session: Session, new: NewReferral, rows: Sequence[tuple[Case, CaseLogEntry]], *, at: datetime
) -> None:
    """Raise `InvalidInput` unless the log of the cases names the unit, and the person or post in it."""
    log = sa.select(CaseLogEntry).where(CaseLogEntry.case_id.in_({case.id for case, _ in rows}))
    steps = list(session.scalars(log))
    last = {case.id: max(row.seq for each, row in rows if each.id == case.id) for case, _ in rows}
    for case in {case.id: case for case, _ in rows}.values():
        # The row that set a due time may be from before the unit had the case.
        if new.unit not in {step.unit for step in steps if step.case_id == case.id and step.seq <= last[case.id]}:
            raise InvalidInput(
                f"unit: {new.unit} never had case {case.name} up to its step {last[case.id]}", fields=("unit",)
            )
    known = session.scalar(sa.select(Unit.id).where(Unit.code == new.unit).limit(1))
    if known is None:
        raise InvalidInput(f"unit: there is no unit {new.unit}", fields=("unit",))
    if new.person is None or new.person in {step.who for step in steps}:
        return
    post = sa.select(Post.id).where(Post.unit_code == new.unit, Post.title == new.person, Post.valid.contains(at))
    if session.scalar(post) is None:
        raise InvalidInput(
            f"person: {new.person[:60]} took no step in these cases and is no post of {new.unit}", fields=("person",)
        )


def _demand_other(new: NewReferral, rows: Sequence[tuple[Case, CaseLogEntry]], *, by: By) -> None:
    if new.person == by.who:
        raise OwnCase(f"{by.who} cannot refer themselves")
    own = [f"{case.name}#{row.seq}" for case, row in rows if row.who == by.who and row.action != "supervise"]
    had = [case.name for case, _ in rows if by.who in case.read_state().handlers]
    if own or had:
        raise OwnCase(f"{by.who} cannot refer what they had a hand in: {', '.join(dict.fromkeys([*own, *had]))}")


def find_referrals(session: Session, *, before: int | None = None, limit: int = 100) -> list[Referral]:
    """What was referred, the latest first; `before` only those with a lower id."""
    query = sa.select(Referral).order_by(Referral.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Referral.id < before)
    return list(session.scalars(query))
