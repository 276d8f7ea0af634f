"""Cases in bulk: some thousand lives are decided by the service's own rules, and SQL makes many cases of each."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.case_deciding import ANY_STEP, accept, decide
from gis_grid.case_facts import WAITS_FOR
from gis_grid.case_rules import CaseRules, Facts, PhotoFacts
from gis_grid.case_state import CaseEvent, CaseLevel, CaseState, replay
from gis_grid.cases import NEVER_DUE
from gis_grid.city import City
from gis_grid.routing import Step as Limited
from gis_grid.routing import Urgency, limits_for
from gis_grid.rules import calendar_at, thresholds_at
from gis_grid.supervision_acts import acts_at

SEED = 1002
DAYS = 700
# What SQL puts in for each case: report, serial number, and codes of grid, community and town.
REPORT, SERIAL, GRID, COMMUNITY, TOWN = "@R@", "@S@", "@G@", "@C@", "@T@"
TYPES = ("E0102", "E0103", "E0104", "E0202", "E0301", "E0502", "E0503", "E0601")

TRY = ("station", {"action": "attempt", "duty": "宣传劝阻", "text": "上门劝阻"}, 1.0)
UP = ("station", {"action": "escalate", "duty": "及时报告", "reason": "劝阻无效"}, 1.0)
SEND = ("dispatcher", {"action": "dispatch", "unit": f"team-chengguan-{TOWN}", "reason": "就近"}, 0.5)
TAKE = ("handler", {"action": "take"}, 1.0)
DONE = ("handler", {"action": "handle", "text": "清理完毕", "after_photo": "a" * 64}, 9.0)
BACK = ("handler", {"action": "return", "reason_code": "属地不符", "text": "不在辖区"}, 2.0)
GOOD = ("checker", {"action": "check", "result": "pass", "text": "已整改"}, 5.0)
BAD = ("checker", {"action": "check", "result": "fail", "text": "仍有堆放"}, 5.0)
TELL = ("operator", {"action": "answer", "text": "已电话告知", "satisfaction": "满意"}, 3.0)
SHUT = ("operator", {"action": "close"}, 0.2)
FILE = ("operator", {"action": "file"}, 0.2)
TAKE_HERE = ("station", {"action": "take", "duty": "快速处置"}, 1.0)
DONE_HERE = ("station", {"action": "handle", "text": "清理完毕", "after_photo": "a" * 64, "duty": "快速处置"}, 4.0)

ROUND = [FILE, TRY, UP, SEND, TAKE, DONE, GOOD, TELL, SHUT]
HERE = [FILE, TAKE_HERE, DONE_HERE, GOOD, TELL, SHUT]
AGAIN = [FILE, TRY, UP, SEND, TAKE, DONE, BAD, DONE, GOOD, TELL, SHUT]
REFUSED = [FILE, TRY, UP, SEND, BACK, SEND, TAKE, DONE, GOOD, TELL, SHUT]
BOTH = [FILE, TRY, UP, SEND, BACK, SEND, TAKE, DONE, BAD, DONE, GOOD, TELL, SHUT]
LIVES, WEIGHTS = (ROUND, HERE, AGAIN, REFUSED, BOTH), (50, 18, 14, 12, 6)


class Life(NamedTuple):
    """One life: the state it has led to, its log, and how many cases live it."""

    state: CaseState
    log: list[CaseEvent]
    cases: int


def make_cases(session: Session, *, city: City, cases: int, open_cases: int, now: datetime) -> None:
    """Fill an empty database with cases, the last `open_cases` of them open.

    Constraints of the log's and the cases' rows are checked in one go at the end, where they are put back.
    """
    rules = {code: _rules(session, code, city=city, now=now) for code in TYPES}
    _store_lives(session, _lives(rules, cases=cases, open_cases=open_cases, now=now))
    for statement in STATEMENTS.split(";\n\n"):
        session.execute(sa.text(statement).bindparams(**_given(statement, city)))
    session.commit()


def _given(statement: str, city: City) -> dict[str, str]:
    return {
        name: value for name, value in (("zone", str(city.zone)), ("adcode", city.adcode)) if f":{name}" in statement
    }


def _rules(session: Session, code: str, *, city: City, now: datetime) -> CaseRules:
    limits = limits_for(session, code, urgency=Urgency.NORMAL, at=now)
    return CaseRules(
        calendar=calendar_at(session, city.zone, at=now),
        thresholds=thresholds_at(session, at=now),
        whole=limits[Limited.WHOLE],
        steps={stage: limits[step] for stage, step in WAITS_FOR.items() if step in limits},
        acts=acts_at(session, at=now),
    )


def _lives(rules: dict[str, CaseRules], *, cases: int, open_cases: int, now: datetime) -> Iterator[Life]:
    rng = random.Random(SEED)
    closed, each = cases - open_cases, 100
    for number in range(0, closed, each):
        at = now - timedelta(days=30 + DAYS * (1 - number / closed)) + timedelta(minutes=rng.uniform(0, 600))
        steps = rng.choices(LIVES, WEIGHTS)[0]
        yield _life(rules, rng, steps, at=at, cases=min(each, closed - number), until=now)
    for number in range(0, open_cases, 10):
        at = now - timedelta(days=12 * rng.random() ** 2, minutes=5)
        steps = rng.choices(LIVES, WEIGHTS)[0][: rng.randrange(0, 8)]
        steps = steps[: steps.index(SHUT)] if SHUT in steps else steps
        yield _life(rules, rng, steps, at=at, cases=min(10, open_cases - number), until=now)


def _life(
    rules: dict[str, CaseRules], rng: random.Random, steps: list[Any], *, at: datetime, cases: int, until: datetime
) -> Life:
    code = rng.choice(TYPES)
    event = accept(
        report_id=REPORT,
        reported_at=at - timedelta(minutes=4),
        kind="投诉",
        event_type=code,
        urgency=Urgency.NORMAL,
        grid_code=GRID,
        community_code=COMMUNITY,
        town_code=TOWN,
        who="user:operator",
        at=at,
    )
    state, log = replay([event]), [event]
    facts = Facts(
        rules[code],
        start_unit=f"ws-{COMMUNITY}",
        start_level=CaseLevel.COMMUNITY,
        town_unit=f"sub-{TOWN}",
        dispatch_unit=f"sub-{TOWN}",
        evidence={"grid_code": GRID, "community_code": COMMUNITY, "town_code": TOWN, "method": "inside", "near": []},
        next_serial=lambda: SERIAL,
    )
    for who, step, hours in steps:
        at = min(until, at + timedelta(hours=hours * rng.uniform(0.2, 1.8)))
        known = replace(facts, photo=PhotoFacts("a" * 64, 12.0, at))
        state, event = decide(state, ANY_STEP.validate_python(step), who=f"user:{who}", at=at, facts=known)
        log.append(event)
    return Life(state, log, cases)


def _store_lives(session: Session, lives: Iterator[Life]) -> None:
    session.execute(sa.text(TABLES))
    life_rows: list[dict[str, Any]] = []
    step_rows: list[dict[str, Any]] = []
    for number, life in enumerate(lives):
        state = life.state
        yellow_at, orange_at, red_at = state.lights_at
        columns = ("kind", "event_type", "unit", "accepted_at", "filed_at", "closed_at", "seq")
        life_rows.append(
            {name: getattr(state, name) for name in columns}
            | {"life": number, "cases": life.cases, "stage": state.stage.value, "urgency": state.urgency.value}
            | {"level": state.level.value if state.level else None, "due_at": red_at or NEVER_DUE}
            | {"yellow_at": yellow_at, "orange_at": orange_at, "red_at": red_at}
            | {"next_act_at": state.next_act_at}
            | {"reported_at": state.first_reported_at, "state": json.dumps(state.model_dump(mode="json"))}
        )
        step_rows += [
            {"life": number, **event.model_dump(mode="json", exclude={"said", "changed"})}
            | {"said": json.dumps(event.said), "changed": json.dumps(event.changed)}
            for event in life.log
        ]
    for table, rows in (("bench_lives", life_rows), ("bench_steps", step_rows)):
        target = sa.table(table, *(sa.column(name) for name in rows[0]))
        session.execute(sa.insert(target), rows)


TABLES = """
create unlogged table bench_lives (
    life int primary key, cases int, kind text, event_type text, urgency text, unit text, level text, stage text,
    seq int, reported_at timestamptz, accepted_at timestamptz, filed_at timestamptz, closed_at timestamptz,
    due_at timestamptz, yellow_at timestamptz, orange_at timestamptz, red_at timestamptz,
    next_act_at timestamptz, state text
);
create unlogged table bench_steps (
    life int, seq int, at timestamptz, action text, who text, unit text, before text, after text, said text,
    changed text, primary key (life, seq)
);
create function bench_filled(t text, report uuid, serial text, grid text, community text, town text) returns text
language sql immutable as $$
    select replace(replace(replace(replace(replace(
        t, '@R@', report::text), '@S@', coalesce(serial, '')), '@G@', grid), '@C@', community), '@T@', town)
$$;
"""

STATEMENTS = """
create unlogged table bench_points as
select (row_number() over (order by md5(g.code || p.path[1]::text)))::int as n, g.id as grid_id, p.geom
from grids g
cross join lateral ST_Dump(ST_GeneratePoints(
    g.geom, (select 1 + sum(cases)::int / (select count(*)::int from grids) from bench_lives), g.id)) as p (path, geom)
;

create unlogged table bench_cases as
select m.n, m.life, md5('case ' || m.n)::uuid as report_id, grid.id as grid_id, grid.layer_id, grid.code as grid_code,
       community.code as community_code, town.code as town_code, district.code as district_code, point.geom,
       case when life.filed_at is not null then
           :adcode || to_char(life.filed_at at time zone :zone, 'YYYYMMDD') || lpad((row_number() over (
               partition by to_char(life.filed_at at time zone :zone, 'YYYYMMDD'), life.filed_at is null
               order by life.filed_at, m.n))::text, 5, '0') end as serial
from (
    select (row_number() over (order by l.accepted_at, l.life))::int as n, l.life
    from bench_lives l cross join lateral generate_series(1, l.cases)
) m
join bench_lives life on life.life = m.life
join bench_points point on point.n = m.n
join grids grid on grid.id = point.grid_id
join areas community on community.id = grid.community_id
join areas town on town.id = community.parent_id
join areas district on district.id = town.parent_id
order by m.n
;

insert into reports (id, content_sha256, received_at, kind, event_type, text, source, sent_lon, sent_lat, datum, geom,
    public_geom, is_synthetic, layer_id, grid_id, method, distance_m, is_uncertain, placed_at, placed_by)
select c.report_id, md5(c.n::text), l.reported_at, l.kind, l.event_type, '垃圾堆在小区门口', '962000', ST_X(c.geom),
       ST_Y(c.geom), 'wgs84', c.geom,
       ST_Transform(ST_SetSRID(ST_MakePoint(
           100 * floor(ST_X(plane.geom) / 100) + 50, 100 * floor(ST_Y(plane.geom) / 100) + 50), 4549), 4326),
       true, c.layer_id, c.grid_id, 'inside', 0, false, l.reported_at, 'benchmark'
from bench_cases c
join bench_lives l on l.life = c.life
cross join lateral ST_Transform(c.geom, 4549) as plane (geom)
;

insert into cases (id, opening_report_id, grid_id, is_synthetic, report_id, serial, seq, stage, kind, event_type,
    urgency, grid_code, community_code, town_code, district_code, unit, level, accepted_at, filed_at, closed_at, due_at,
    yellow_at, orange_at, red_at, next_act_at, state)
select c.n, c.report_id, c.grid_id, true, c.report_id, c.serial, l.seq, l.stage, l.kind, l.event_type, l.urgency,
       c.grid_code, c.community_code, c.town_code, c.district_code,
       bench_filled(l.unit, c.report_id, c.serial, c.grid_code, c.community_code, c.town_code), l.level, l.accepted_at,
       l.filed_at, l.closed_at, l.due_at, l.yellow_at, l.orange_at, l.red_at, l.next_act_at,
       bench_filled(l.state, c.report_id, c.serial, c.grid_code, c.community_code, c.town_code)::jsonb
from bench_cases c
join bench_lives l on l.life = c.life
order by c.n
;

select setval(pg_get_serial_sequence('cases', 'id'), (select max(id) from cases))
;

insert into case_serials (day, last)
select substr(serial, 7, 8), count(*) from bench_cases where serial is not null group by 1
;

alter table case_events drop constraint fk_case_events_case_id_cases
;

insert into case_events (case_id, seq, at, action, who, unit, before, after, said, changed, channel, request_id)
select c.n, s.seq, s.at, s.action, s.who,
       bench_filled(s.unit, c.report_id, c.serial, c.grid_code, c.community_code, c.town_code), s.before, s.after,
       bench_filled(s.said, c.report_id, c.serial, c.grid_code, c.community_code, c.town_code)::jsonb,
       bench_filled(s.changed, c.report_id, c.serial, c.grid_code, c.community_code, c.town_code)::jsonb,
       'benchmark', 'benchmark'
from bench_cases c
join bench_steps s on s.life = c.life
order by c.n, s.seq
;

alter table case_events add constraint fk_case_events_case_id_cases foreign key (case_id) references cases (id)
;

drop table bench_lives, bench_steps, bench_points, bench_cases
"""
