-- A row is one thing that is counted in a period: what it is counted for, whether it was done and in time, by whom, and
-- the step of the case's log that says so. Only the log is read, as it stood at :as_of, so a month keeps its figures,
-- and of it only what :measures ask for; what never changes of a case, that it is a drill, is asked of the case.
with month as materialized (
    -- Read once: the index by time is coarse, and several measures are counted out of the same steps.
    select
        case_id, seq, at, action, unit, who, said ->> 'result' as result, said ->> 'satisfaction' as satisfaction
    from case_events
    where at >= :since and at < :as_of
        and action in ('accept', 'file', 'dispatch', 'rule_finally', 'transfer', 'handle', 'check', 'answer')
),
due as (
    -- Due times are compared as the text they are stored as: UTC to the second and finer, so that an index on it serves.
    select case_id, seq, at, after, unit, 'whole' as clock, changed -> 'whole' as run
    from case_events
    where changed -> 'whole' ->> 'red_at' >= :since_text and changed -> 'whole' ->> 'red_at' < :until_text
        and 'close' = any(:measures)
    union all
    select case_id, seq, at, after, unit, 'step', changed -> 'step'
    from case_events
    where changed -> 'step' ->> 'red_at' >= :since_text and changed -> 'step' ->> 'red_at' < :until_text
        and array['take', 'handle', 'check', 'answer'] && :measures
),
runs as (
    select
        due.case_id, due.seq, due.after, due.unit, due.clock, due.run ->> 'started_at' as started_at,
        (due.run ->> 'red_at')::timestamptz as red_at,
        over.at as over_at, over.seq as over_seq, over.action as over_by, over.who as over_who, over.unit as over_unit
    from due
    left join lateral (
        select at, seq, action, who, unit, changed
        from case_events as next
        where next.case_id = due.case_id and next.seq > due.seq and next.at < :as_of
            and (jsonb_exists(next.changed, due.clock) or next.after in ('closed', 'merged', 'void'))
        order by next.seq
        limit 1
    ) as over on true
    where due.at < :as_of and (due.run ->> 'red_at')::timestamptz < :as_of
        -- Time was added, or stood still: the due time that took this one's place counts.
        and over.changed -> due.clock ->> 'started_at' is distinct from due.run ->> 'started_at'
),
-- What somebody had still to do when its time ran out, or had done before.
steps as (
    select
        runs.*,
        case
            when after in ('taken', 'rework') then 'handle'
            when after = 'dispatched' then 'take'
            when after = 'handled' then 'check'
            when after = 'checked' then 'answer'
        end as measure
    from runs
    where clock = 'step'
),
received as (
    select seen.case_id, log.*
    from (select distinct case_id from month where action in ('dispatch', 'rule_finally', 'transfer')) as seen
    -- Case by case, or the whole log would be read.
    cross join lateral (
        select
            seq, at, action, who, unit,
            lag(unit) over steps as from_unit, lead(action) over steps as next_action, lead(unit) over steps as next_unit
        from case_events
        where case_id = seen.case_id and at < :as_of
            and action in ('dispatch', 'rule_finally', 'transfer', 'return', 'escalate', 'take', 'handle', 'file')
        window steps as (order by seq)
    ) as log
),
counted as (
    select
        'file' as measure, accepted.case_id, accepted.seq, filed.at is not null as is_done,
        filed.at is not null as is_in_time, null as unit, accepted.who
    from month as accepted
    left join month as filed on filed.case_id = accepted.case_id and filed.action = 'file'
    where accepted.action = 'accept' and 'file' = any(:measures)
    union all
    select
        'dispatch', case_id, seq, next_action is distinct from 'return' and next_action is distinct from 'transfer',
        next_action is distinct from 'return' and next_action is distinct from 'transfer', from_unit, who
    from received
    where action = 'dispatch' and at >= :since and 'dispatch' = any(:measures)
    union all
    select 'return', case_id, seq, coalesce(next_action = 'return', false), false, unit, null
    from received
    where action in ('dispatch', 'rule_finally', 'transfer') and at >= :since and 'return' = any(:measures)
    union all
    select
        measure, case_id, coalesce(over_seq, seq), coalesce(over_by = measure, false) or is_refused,
        (coalesce(over_by = measure, false) or is_refused) and over_at < red_at,
        case when measure in ('handle', 'take') then unit end,
        case when over_by = measure then over_who end
    from (select *, measure = 'take' and coalesce(over_by = 'return', false) as is_refused from steps) as steps
    where measure = any(:measures) and (over_by = measure or is_refused or over_at is null or over_at >= red_at)
    union all
    select
        'close', runs.case_id, last.seq, last.after = 'closed', last.after = 'closed' and last.at < runs.red_at,
        last.unit, taken.who
    from runs
    join lateral (
        select seq, at, after, unit
        from case_events as log
        where log.case_id = runs.case_id and log.at < :as_of
        order by log.seq desc
        limit 1
    ) as last on last.after not in ('merged', 'void')
    left join lateral (
        select who
        from case_events as log
        where log.case_id = runs.case_id and log.action = 'take' and log.at < :as_of
        order by log.seq desc
        limit 1
    ) as taken on true
    where runs.clock = 'whole'
    union all
    select 'rework', handled.case_id, handled.seq, failed.case_id is not null, false, handled.unit, handled.who
    from (
        select distinct on (case_id) case_id, seq, unit, who
        from month
        where action = 'handle'
        order by case_id, seq desc
    ) as handled
    left join (select distinct case_id from month where action = 'check' and result = 'fail') as failed
        on failed.case_id = handled.case_id
    where 'rework' = any(:measures)
    union all
    select 'pass', case_id, seq, result = 'pass', false, unit, null
    from month
    where action = 'check' and 'pass' = any(:measures)
    union all
    select 'satisfy', case_id, seq, satisfaction in ('满意', '基本满意'), false, unit, null
    from month
    where action = 'answer' and satisfaction <> '未表态' and 'satisfy' = any(:measures)
),
-- Each case once: a case is counted for several things.
grounds as materialized (
    select
        seen.case_id, ground.changed ->> 'grid_code' as grid, ground.changed ->> 'community_code' as community,
        ground.changed ->> 'town_code' as town, accepted.changed ->> 'event_type' as event_type,
        (accepted.changed ->> 'report_id')::uuid as report_id
    from (select distinct case_id from counted) as seen
    join case_events as accepted on accepted.case_id = seen.case_id and accepted.seq = 1
    cross join lateral (
        select changed
        from case_events as log
        where log.case_id = seen.case_id and log.action in ('accept', 'relocate') and log.at < :as_of
        order by log.seq desc
        limit 1
    ) as ground
    where seen.case_id not in (select id from cases where drill_id is not null)
)
select
    counted.measure, counted.case_id, counted.seq, counted.is_done, counted.is_in_time, counted.unit, counted.who,
    grounds.grid, grounds.community, grounds.town, grounds.event_type, grounds.report_id
from counted
join grounds on grounds.case_id = counted.case_id
