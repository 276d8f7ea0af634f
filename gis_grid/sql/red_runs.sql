-- A row is a run of a clock that turned red in the period: which, when, who had the case then, and the rows that say so.
-- Due times are compared as the text they are stored as: UTC to the second and finer, so that an index on it serves.
with due as (
    select case_id, seq, at, 'whole' as clock, changed -> 'whole' as run
    from case_events
    where changed -> 'whole' ->> 'red_at' >= :since_text and changed -> 'whole' ->> 'red_at' < :until_text
    union all
    select case_id, seq, at, 'step', changed -> 'step'
    from case_events
    where changed -> 'step' ->> 'red_at' >= :since_text and changed -> 'step' ->> 'red_at' < :until_text
),
turned as (
    select distinct on (due.case_id, due.clock, due.run ->> 'started_at')
        due.case_id, due.clock, due.seq as due_seq, over.at as over_at, over.action as over_by,
        (due.run ->> 'started_at')::timestamptz as started_at, due.run ->> 'limit' as limit_text,
        due.run -> 'extended' as extended, (due.run ->> 'red_at')::timestamptz as red_at
    from due
    -- Until another due time takes its place, or the case ends.
    left join lateral (
        select at, action
        from case_events as next
        where next.case_id = due.case_id and next.seq > due.seq
            and (jsonb_exists(next.changed, due.clock) or next.after in ('closed', 'merged', 'void'))
        order by next.seq
        limit 1
    ) as over on true
    where (due.run ->> 'red_at')::timestamptz between due.at and :now
        and (over.at is null or over.at >= (due.run ->> 'red_at')::timestamptz)
    order by due.case_id, due.clock, due.run ->> 'started_at', due.run ->> 'red_at'
)
select
    turned.*, cases.serial, cases.event_type, cases.grid_code, cases.community_code, cases.town_code,
    cases.district_code, cases.is_synthetic, had.seq as had_seq, had.after as stage, had.unit,
    coalesce(units.name, had.unit) as unit_name, taken.who as taker, posts.title as post, holders.id as holder_id
from turned
join cases on cases.id = turned.case_id and cases.drill_id is null
join lateral (
    select seq, unit, after
    from case_events as last
    where last.case_id = turned.case_id and (last.seq <= turned.due_seq or last.at < turned.red_at)
    order by seq desc
    limit 1
) as had on true
-- Whoever took the case in the unit that has it still.
left join lateral (
    select who
    from case_events as take
    where take.case_id = turned.case_id and take.action = 'take' and take.unit = had.unit and take.seq <= had.seq
        and not exists (
            select
            from case_events as gone
            where gone.case_id = take.case_id and gone.seq between take.seq and had.seq
                and gone.unit is distinct from had.unit
        )
    order by seq desc
    limit 1
) as taken on true
left join units on units.code = had.unit and units.valid @> turned.red_at
left join posts on posts.unit_code = had.unit and posts.is_first_responsible and posts.valid @> turned.red_at
left join post_holders as holders
    on holders.unit_code = posts.unit_code and holders.title = posts.title and holders.valid @> turned.red_at
order by had.unit nulls last, turned.red_at, turned.case_id, turned.clock
