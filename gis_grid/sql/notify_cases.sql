-- A row is one notification, sent when the transaction commits: where one of some cases stands now, for whoever listens.
select pg_notify(
    :channel,
    json_build_object(
        'id', id, 'serial', serial, 'seq', seq, 'stage', stage, 'unit', unit, 'level', level,
        'ground', json_build_array(grid_code, community_code, town_code, district_code),
        'is_drill', drill_id is not null, 'yellow_at', yellow_at, 'orange_at', orange_at, 'red_at', red_at, 'closed_at', closed_at
    )::text
)
from cases
where id = any(:case_ids)
