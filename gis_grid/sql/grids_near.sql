-- A row is a grid within some metres of a report, nearest first, with whose it is: the evidence of a refusal.
select grid.code as grid_code, community.name as community, town.name as town,
       round(ST_Distance(grid.geom::geography, report.geom::geography)::numeric, 1)::float8 as distance_m
from reports report
join grids grid on grid.layer_id = :layer_id
    and grid.geom && ST_Expand(report.geom, 1.01 * :within_m / :mx, 1.01 * :within_m / :my)
    and ST_DWithin(grid.geom::geography, report.geom::geography, :within_m)
join areas community on community.id = grid.community_id
join areas town on town.id = community.parent_id
where report.id = :report_id
order by distance_m, grid_code
