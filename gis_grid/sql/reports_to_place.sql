copy (
    -- A row is a report that counts, no drill: its point, the instant that decides its layer, the grid it is in now.
    select ST_X(r.geom) as lon, ST_Y(r.geom) as lat,
           extract(epoch from coalesce(r.observed_at, r.received_at)) as at,
           g.code, r.method
    from reports r
    left join grids g on g.id = r.grid_id
    where r.drill_id is null
) to stdout with (format csv, header)
