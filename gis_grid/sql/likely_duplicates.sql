-- A row is a case near a point in space and time, of one class of event types, open or lately ended; nearest first.
select near.id, near.distance_m
from (
    select c.id,
           ST_Distance(
               ST_Scale(ST_Translate(r.geom, -cast(:lon as float8), -cast(:lat as float8)), :mx, :my),
               ST_SetSRID(ST_MakePoint(0, 0), 4326)
           ) as distance_m
    from reports r
    join cases c on c.report_id = r.id and c.drill_id is null
    join event_types t on t.code = c.event_type
    where r.geom && ST_Expand(
            ST_SetSRID(ST_MakePoint(:lon, :lat), 4326), 1.001 * :within_m / :mx, 1.001 * :within_m / :my
        )
        and r.received_at between :since and :until
        and coalesce(t.parent_code, t.code) = :event_class
        and (c.closed_at is null or (c.stage = 'closed' and c.closed_at >= :ended_since))
) near
where near.distance_m <= :within_m
order by near.distance_m, near.id
limit :most
