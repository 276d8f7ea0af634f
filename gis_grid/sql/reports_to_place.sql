copy (
    -- A row is a report: its point, the instant that decides its layer, and the grid that it is in now.
    select ST_X(r.geom) as lon, ST_Y(r.geom) as lat,
           extract(epoch from coalesce(r.observed_at, r.received_at)) as at,
           g.code, r.method
    from reports r
    left join grids g on g.id = r.grid_id
) to stdout with (format csv, header)
