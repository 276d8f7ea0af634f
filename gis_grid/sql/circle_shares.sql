-- A row is a grid that a point's accuracy circle reaches, with the share of the circle that lies in it.
with asked as (
    select p.ord, p.lon, p.lat, p.mx, p.my, p.layer_id, p.accuracy_m,
           ST_Buffer(ST_SetSRID(ST_MakePoint(0, 0), 4326), p.accuracy_m, 16) as circle
    from unnest(
        cast(:lon as float8[]), cast(:lat as float8[]), cast(:mx as float8[]), cast(:my as float8[]),
        cast(:layer_id as int[]), cast(:accuracy_m as float8[])
    ) with ordinality as p (lon, lat, mx, my, layer_id, accuracy_m, ord)
)
select asked.ord, grid.code,
       least(1, ST_Area(ST_Intersection(scaled.geom, asked.circle)) / ST_Area(asked.circle)) as share
from asked
join grids grid
    on grid.layer_id = asked.layer_id
    and grid.geom && ST_MakeEnvelope(
        asked.lon - 1.001 * asked.accuracy_m / asked.mx, asked.lat - 1.001 * asked.accuracy_m / asked.my,
        asked.lon + 1.001 * asked.accuracy_m / asked.mx, asked.lat + 1.001 * asked.accuracy_m / asked.my, 4326)
cross join lateral ST_Scale(ST_Translate(grid.geom, -asked.lon, -asked.lat), asked.mx, asked.my) as scaled (geom)
where ST_Intersects(scaled.geom, asked.circle)
order by asked.ord, grid.code
