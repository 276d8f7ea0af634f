-- A row is a case that says something of somebody's patrols: a report of theirs that was decided on in the period, or what
-- others found that they had passed. Several may have passed by one case: a row each, of each unit they patrolled for.
-- Read are the log of cases as it stood at :as_of, what never changes of a case and a report, and the lines walked.
with decided as materialized (
    -- Once a case, by its first filing, merging or voiding.
    select log.case_id, log.seq, log.action, report.id as report_id, report.source, report.kind, report.geom,
        report.received_at, coalesce(report.observed_at, report.received_at) as found_at
    from case_events as log
    join cases on cases.id = log.case_id and cases.drill_id is null
    join reports as report on report.id = cases.opening_report_id
    where log.action in ('file', 'merge', 'void') and log.at >= :since and log.at < :as_of
        and array['report', 'miss'] && :measures
        and not exists (
            select
            from case_events as before
            where before.case_id = log.case_id and before.seq < log.seq
                and before.action in ('file', 'merge', 'void')
        )
),
standing as (
    select
        decided.*, last.after, ground.changed ->> 'grid_code' as grid,
        ground.changed ->> 'community_code' as community, ground.changed ->> 'town_code' as town,
        accepted.changed ->> 'event_type' as event_type
    from decided
    join case_events as accepted on accepted.case_id = decided.case_id and accepted.seq = 1
    cross join lateral (
        select after
        from case_events as log
        where log.case_id = decided.case_id and log.at < :as_of
        order by log.seq desc
        limit 1
    ) as last
    cross join lateral (
        select changed
        from case_events as log
        where log.case_id = decided.case_id and log.action in ('accept', 'relocate') and log.at < :as_of
        order by log.seq desc
        limit 1
    ) as ground
),
reported as (
    select
        standing.*, sender.who, member.unit,
        -- Who sends the same thing twice has not found two.
        standing.after <> 'void' and (standing.after <> 'merged' or sender.who is distinct from other.who) as is_valid
    from standing
    left join changes as sender
        on sender.thing = 'report' and sender.key = standing.report_id::text and sender.before is null
    left join case_events as merging on merging.case_id = standing.case_id and merging.action = 'merge'
    left join cases as target on target.serial = merging.changed ->> 'merged_into'
    left join changes as other
        on other.thing = 'report' and other.key = target.opening_report_id::text and other.before is null
    left join lateral (
        select teams.unit_code as unit
        from accounts
        join team_members as members
            on members.person_id = accounts.person_id and members.valid @> standing.received_at
        join teams on teams.code = members.team_code and teams.valid @> standing.received_at
        where accounts.login = substr(sender.who, 6) and sender.who like 'user:%'
    ) as member on true
    where standing.source = 'patrol'
),
missed as (
    select standing.*, passed.walker as who, teams.unit_code as unit
    from standing
    cross join lateral (
        select distinct chunks.walker, chunks.team
        from track_chunks as chunks
        -- A chunk is at most 6 h long, which lets the months be told from started_at alone.
        where chunks.started_at > standing.found_at - :look_back - interval '6 hours'
            and chunks.started_at <= standing.found_at
            and chunks.ended_at > standing.found_at - :look_back and chunks.ended_at <= standing.found_at
            and chunks.geom && ST_Expand(
                standing.geom, 1.02 * :sight_m / (111320 * cos(radians(ST_Y(standing.geom)))), 1.02 * :sight_m / 110500
            )
            and exists (
                -- Between two fixes far apart nobody is known to have walked: the same bounds as of seen ground.
                select
                from ST_DumpSegments(chunks.geom) as step
                where ST_DWithin(step.geom::geography, standing.geom::geography, :sight_m)
                    and ST_Length(step.geom::geography) <= 200
                    and ST_M(ST_EndPoint(step.geom)) - ST_M(ST_StartPoint(step.geom)) > 0
                    and ST_M(ST_EndPoint(step.geom)) - ST_M(ST_StartPoint(step.geom)) <= 60
                    and ST_Length(step.geom::geography)
                        <= 50 * (ST_M(ST_EndPoint(step.geom)) - ST_M(ST_StartPoint(step.geom)))
            )
    ) as passed
    left join teams on teams.code = passed.team and teams.valid @> standing.found_at
    where 'miss' = any(:measures) and standing.source = any(:sources) and standing.kind = any(:kinds)
        and standing.after not in ('merged', 'void')
        -- A patrol's report of it was merged into it.
        and not exists (
            select
            from case_events as absorbed
            join reports as report on report.id = (absorbed.said ->> 'report_id')::uuid
            where absorbed.case_id = standing.case_id and absorbed.action = 'absorb' and absorbed.at < :as_of
                and report.source = 'patrol'
        )
),
counted as (
    select 'report' as measure, case_id, seq, is_valid as is_done, unit, who, grid, community, town, event_type, report_id
    from reported
    where 'report' = any(:measures)
    union all
    select 'miss', case_id, seq, false, unit, who, grid, community, town, event_type, report_id
    from reported
    where 'miss' = any(:measures)
    union all
    select 'miss', case_id, seq, true, unit, who, grid, community, town, event_type, report_id
    from missed
)
select
    measure, case_id, seq, is_done, false as is_in_time, unit, who, grid, community, town, event_type, report_id
from counted
