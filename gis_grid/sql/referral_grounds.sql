-- A row is one ground for accountability that the log gives, within a period: which case, whose, and the rows that say
-- so. Red overruns come from red_runs.sql. Only steps up to :as_of are read. From how many times on it is a ground, and how
-- long a 问效 may go unanswered, is what case_numbers said when it happened, else what is given.
with questioned as (
    -- 问效 was issued, and the run of the clock that it was issued for went on for longer than it may.
    select
        'question_unanswered' as ground, asked.case_id, asked.unit, taken.who as person, array[asked.seq] as seqs,
        asked.at
    from case_events as asked
    left join lateral (
        select at
        from case_events as next
        where next.case_id = asked.case_id and next.seq > asked.seq and next.at < :as_of
            and (jsonb_exists(next.changed, asked.said ->> 'clock') or next.after in ('closed', 'merged', 'void'))
        order by next.seq
        limit 1
    ) as over on true
    left join lateral (
        select who
        from case_events as take
        where take.case_id = asked.case_id and take.seq < asked.seq and take.action = 'take' and take.unit = asked.unit
        order by take.seq desc
        limit 1
    ) as taken on true
    where asked.action = 'supervise' and asked.said ->> 'act' = '问效' and asked.at >= :since and asked.at < :as_of
        and coalesce(over.at, :as_of) > asked.at + interval '1 hour' * coalesce(
            (select value from case_numbers where name = 'question_unanswered_h' and valid @> asked.at),
            :question_unanswered_h
        )
),
moved as (
    select seen.case_id, log.*
    from (
        select distinct case_id
        from case_events
        where action in ('return', 'transfer') and at >= :since and at < :as_of
    ) as seen
    -- Case by case, or the whole log would be read.
    cross join lateral (
        select seq, at, who, lag(unit) over (order by seq) as unit, action
        from case_events
        where case_id = seen.case_id and at < :as_of
    ) as log
),
passed_round as (
    select
        'passed_round' as ground, moved.case_id, moved.unit, (array_agg(moved.who order by moved.seq desc))[1] as person,
        every.seqs, max(moved.at) as at
    from moved
    join (
        select case_id, array_agg(seq order by seq) as seqs
        from moved
        where action in ('return', 'transfer')
        group by case_id
        having count(*) >= coalesce(
            (select value from case_numbers where name = 'returns_before_referral' and valid @> max(moved.at)),
            :returns_before_referral
        )
    ) as every on every.case_id = moved.case_id
    where moved.action in ('return', 'transfer')
    group by moved.case_id, moved.unit, every.seqs
    having max(moved.at) >= :since
),
reworked as (
    select
        'reworked' as ground, case_id, unit, max(handled.who) as person, array_agg(failed.seq order by failed.seq) as seqs,
        max(failed.at) as at
    from (
        select distinct case_id
        from case_events
        where action = 'check' and said ->> 'result' = 'fail' and at >= :since and at < :as_of
    ) as seen
    cross join lateral (
        select unit, seq, at
        from case_events
        where case_id = seen.case_id and action = 'check' and said ->> 'result' = 'fail' and at < :as_of
        offset 0
    ) as failed
    left join lateral (
        select who
        from case_events as handle
        where handle.case_id = seen.case_id and handle.seq < failed.seq and handle.action = 'handle'
        order by handle.seq desc
        limit 1
    ) as handled on true
    group by case_id, unit
    having max(failed.at) >= :since and count(*) >= coalesce(
        (select value from case_numbers where name = 'reworks_before_referral' and valid @> max(failed.at)),
        :reworks_before_referral
    )
)
select found.ground, found.unit, found.person, found.seqs, found.at, cases.serial, cases.id as case_id
from (
    select * from questioned
    union all
    select * from passed_round
    union all
    select * from reworked
) as found
join cases on cases.id = found.case_id
where found.unit is not null and found.case_id not in (select id from cases where drill_id is not null)
order by found.at desc, found.case_id, found.ground
