-- A row is one asked point, in the order asked: the layer it was placed in, its grid (null outside), and how.
-- ST_Relate decides alone: PostGIS 3.3's ST_Intersects misjudged points on shared edges.
with asked as materialized (
    select p.ord, p.mx, p.my, layer.id as layer_id,
           ST_SetSRID(ST_MakePoint(p.lon, p.lat), 4326) as geom
    from unnest(
        cast(:lon as float8[]), cast(:lat as float8[]),
        cast(:mx as float8[]), cast(:my as float8[]), cast(:at as timestamptz[])
    ) with ordinality as p (lon, lat, mx, my, at, ord)
    left join grid_layers layer on layer.in_force @> p.at
),
-- A row is a point's lowest grid among those it touches; position 1 of the matrix is interior, 4 is edge.
held as materialized (
    select distinct on (related.ord) related.ord, related.id, related.is_inside
    from (
        select asked.ord, grid.id, grid.code,
               substr(matrix, 1, 1) = '0' as is_inside,
               substr(matrix, 4, 1) = '0' as is_edge
        from asked
        join grids grid on grid.layer_id = asked.layer_id and grid.geom && asked.geom
        cross join lateral ST_Relate(grid.geom, asked.geom) as matrix
    ) related
    where related.is_inside or related.is_edge
    order by related.ord, related.code
),
-- A row is a grid near a point that no grid holds, with its distance in a plane scaled at the point.
near as materialized (
    select asked.ord, grid.id, grid.code,
           ST_Distance(
               ST_Scale(ST_Translate(grid.geom, -ST_X(asked.geom), -ST_Y(asked.geom)), asked.mx, asked.my),
               ST_SetSRID(ST_MakePoint(0, 0), 4326)
           ) as distance_m
    from asked
    join grids grid
        on grid.layer_id = asked.layer_id
        and grid.geom && ST_Expand(asked.geom, 1.001 * :snap_m / asked.mx, 1.001 * :snap_m / asked.my)
    where not exists (select from held where held.ord = asked.ord)
),
snapped as (
    select distinct on (close.ord) close.ord, close.id, close.distance_m
    from (
        select near.*, min(near.distance_m) over (partition by near.ord) as least_m
        from near
        where near.distance_m <= :snap_m
    ) close
    where close.distance_m <= close.least_m + 0.001
    order by close.ord, close.code
)
select asked.layer_id,
       coalesce(held.id, snapped.id) as grid_id,
       case
           when held.is_inside then 'inside'
           when held.ord is not null then 'edge'
           when snapped.ord is not null then 'snapped'
           else 'outside'
       end as method,
       case when held.ord is not null then 0 else snapped.distance_m end as distance_m
from asked
left join held using (ord)
left join snapped using (ord)
order by asked.ord
