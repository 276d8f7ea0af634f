"""Rewards go to the first reporter of a verified hazard, once; names are sealed, and each reading is kept."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.orm import Session

from gis_grid.backup import backup, restore
from gis_grid.case_steps import SamePerson
from gis_grid.cases import Case
from gis_grid.database import connect, sessions
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.informants import (
    CannotBeOpened,
    Identity,
    Informant,
    InformantReading,
    NoInformantKey,
    Sealer,
    new_key,
    read_informant,
)
from gis_grid.reports import Report
from gis_grid.rewards import NotRewarded, RewardEntry, RewardSettled, RewardStep, candidates, settle
from gis_grid.situations import SituationKind, start_situation
from tests.builders import BY, NOW
from tests.stored_cases import Desk, by

SEALER = Sealer.of([SecretStr(new_key())])
GRANTED, PAID, REFUSED = RewardStep
FIRE_LANE = "E0507"


def tip_off(desk: Desk, **changes: Any) -> Report:
    sealed = SEALER.seal(Identity("赵敏", "10000000009"))
    return desk.report(**{"event_type": FIRE_LANE, "informant": sealed, "text": "消防通道被堵"} | changes)


def closed(desk: Desk, report: Report) -> Case:
    return desk.closed(report=report)


def step(desk: Desk, case: Case, step: RewardStep, who: str = "supervisor") -> RewardEntry:
    try:
        entry = settle(desk.session, case.name, step, reason="已核实", by=by(who), now=desk.at)
    except Exception:
        desk.session.rollback()
        raise
    desk.session.commit()
    return entry


def test_a_verified_hazard_is_granted_by_one_and_paid_by_another(desk: Desk) -> None:
    case = closed(desk, tip_off(desk))
    open_ones = [(one.case.name, one.rule.amount_yuan) for one in candidates(desk.session)]
    step(desk, case, GRANTED)
    with pytest.raises(SamePerson):
        step(desk, case, PAID)
    step(desk, case, PAID, "clerk")

    assert open_ones == [(case.name, Decimal(200))]
    assert candidates(desk.session) == []
    entries = desk.session.scalars(sa.select(RewardEntry).order_by(RewardEntry.seq)).all()
    assert [(one.seq, one.step, one.amount_yuan, one.who) for one in entries] == [
        (1, "granted", 200, "user:supervisor"),
        (2, "paid", 200, "user:clerk"),
    ]


@pytest.mark.parametrize("after", [[GRANTED, PAID], [GRANTED, REFUSED], [REFUSED]], ids=str)
def test_what_is_settled_stays_settled(desk: Desk, after: list[RewardStep]) -> None:
    case = closed(desk, tip_off(desk))
    for number, one in enumerate(after):
        step(desk, case, one, f"person-{number}")

    for one in RewardStep:
        with pytest.raises(RewardSettled):
            step(desk, case, one, "other")


def open_case(desk: Desk) -> Case:
    return desk.dispatched(report=tip_off(desk))


def no_hazard(desk: Desk) -> Case:
    return closed(desk, tip_off(desk, event_type="E0102"))


def no_name(desk: Desk) -> Case:
    return closed(desk, tip_off(desk, informant=None))


def only_answered(desk: Desk) -> Case:
    from gis_grid.reports import Kind

    case = desk.filed(report=tip_off(desk, kind=Kind.QUESTION))
    desk.step(case, "operator", action="answer", text="已解释", satisfaction="满意")
    desk.step(case, "operator", action="close")
    return case


def drill(desk: Desk) -> Case:
    begun = start_situation(desk.session, SituationKind.DRILL, "演练", "310112", reason="季度", by=BY, now=NOW)
    return closed(desk, tip_off(desk, drill_id=begun.id))


@pytest.mark.parametrize(
    ("make", "why"),
    [(open_case, "closed"), (no_hazard, "no reward rule"), (no_name, "sealed name"), (only_answered, "not verified"), (drill, "drill")],
)  # fmt: skip
def test_what_gets_no_reward_is_told_why(desk: Desk, make: Callable[[Desk], Case], why: str) -> None:
    case = make(desk)

    assert candidates(desk.session) == []
    with pytest.raises(NotRewarded, match=why):
        step(desk, case, GRANTED)


def test_after_merging_the_first_reporter_is_rewarded_and_the_second_is_not(desk: Desk) -> None:
    first, second = tip_off(desk), tip_off(desk, at=NOW + timedelta(minutes=5))
    later, earlier = desk.dispatched(report=second), desk.filed(report=first)
    desk.step(earlier, "operator", action="merge", into=later.serial)
    desk.step(later, "handler", action="take")
    desk.at = NOW + timedelta(days=4)
    desk.step(later, "handler", action="handle", text="清理完毕", after_photo=desk.after_photo(later))
    desk.step(later, "checker", action="check", result="pass", text="已整改")
    desk.step(later, "operator", action="answer", text="已告知", satisfaction="满意")
    desk.step(later, "operator", action="close")

    (one,) = candidates(desk.session)
    entry = step(desk, later, GRANTED)
    assert one.case.name == later.name
    assert entry.report_id == first.id
    with pytest.raises(NotRewarded):
        step(desk, earlier, GRANTED)


def test_where_the_first_of_the_merged_left_no_name_nobody_else_is_paid(desk: Desk) -> None:
    first = desk.report(event_type=FIRE_LANE)
    later, earlier = desk.dispatched(report=tip_off(desk, at=NOW + timedelta(minutes=5))), desk.filed(report=first)
    desk.step(earlier, "operator", action="merge", into=later.serial)

    assert later.report_id == first.id
    assert candidates(desk.session) == []


def tables_with(session: Session, pattern: str) -> list[str]:
    query = "select table_name from information_schema.tables where table_schema = 'public' order by 1"
    names = [name for (name,) in session.execute(sa.text(query)) if name != "spatial_ref_sys"]
    found = "select exists (select from {} as t where t::text ~ :pattern)"
    return [name for name in names if session.scalar(sa.text(found.format(name)), {"pattern": pattern})]


def test_a_name_is_stored_sealed_and_nowhere_else(desk: Desk) -> None:
    report = tip_off(desk)
    desk.report(reporter_name="李雷")
    desk.session.commit()

    assert tables_with(desk.session, "赵敏|10000000009") == []
    assert tables_with(desk.session, "李雷") == ["reporters"]
    assert SEALER.open(desk.session.get_one(Informant, report.id).sealed) == Identity("赵敏", "10000000009")


def test_each_reading_is_kept_with_its_reason(desk: Desk) -> None:
    report = tip_off(desk)
    with pytest.raises(InvalidInput, match="reason"):
        read_informant(desk.session, report.id, SEALER, reason=" ", by=by("clerk"), now=NOW)
    with pytest.raises(NotFound):
        read_informant(desk.session, desk.report().id, SEALER, reason="发奖", by=by("clerk"), now=NOW)

    identity = read_informant(desk.session, report.id, SEALER, reason="发奖", by=by("clerk"), now=NOW)

    (reading,) = desk.session.scalars(sa.select(InformantReading))
    assert identity == Identity("赵敏", "10000000009")
    assert (reading.report_id, reading.who, reading.reason) == (report.id, "user:clerk", "发奖")


def test_the_application_can_neither_alter_nor_remove_the_ledger_or_a_reading(desk: Desk) -> None:
    for statement in (
        "update reward_entries set step = 'paid'",
        "delete from reward_entries",
        "update informants set sealed = ''",
        "delete from informant_readings",
    ):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            desk.session.execute(sa.text(statement))
        desk.session.rollback()


def test_a_newer_key_seals_and_the_older_still_opens() -> None:
    old, new = new_key(), new_key()
    before = Sealer.of([SecretStr(old)]).seal(Identity("赵敏", None))
    both = Sealer.of([SecretStr(new), SecretStr(old)])

    assert both.open(before.token) == Identity("赵敏", None)
    with pytest.raises(CannotBeOpened):
        Sealer.of([SecretStr(old)]).open(both.seal(Identity("赵敏", None)).token)


@pytest.mark.parametrize("keys", [[], ["short"], ["x" * 44], ["é" * 44]], ids=str)
def test_without_a_usable_key_it_says_so_and_does_not_tell_the_key(keys: list[str]) -> None:
    with pytest.raises(NoInformantKey, match="GIS_GRID_INFORMANT_KEYS") as caught:
        Sealer.of([SecretStr(key) for key in keys])

    assert not any(key in str(caught.value) for key in keys)


def test_a_restored_backup_holds_names_sealed_and_the_key_opens_them(
    desk: Desk, cluster: EmbeddedPostgis, database: str, tmp_path: Path
) -> None:
    report = tip_off(desk)
    desk.session.commit()
    file = tmp_path / "city.tar"
    backup(cluster.url(database), photos_folder=tmp_path / "photos", to=file, city="闵行区", now=NOW)
    cluster.ensure_database("restored")
    try:
        restore(file, database_url=cluster.url("restored"), photos_folder=tmp_path / "there")
        engine = connect(cluster.url("restored"), role=None)
        with sessions(engine)() as restored:
            row = restored.get_one(Informant, report.id)
            assert SEALER.open(row.sealed) == Identity("赵敏", "10000000009")
            with pytest.raises(CannotBeOpened, match="GIS_GRID_INFORMANT_KEYS"):
                Sealer.of([SecretStr(new_key())]).open(row.sealed)
        engine.dispose()
    finally:
        cluster.drop_database("restored")
    assert "赵敏".encode() not in file.read_bytes()
