-- A row is one tile of one shift of one day; what was seen before stays seen.
insert into seen_tiles (tile_row, tile_col, day, shift, bits)
select t.tile_row, t.tile_col, t.day, t.shift, cast(t.bits as bit varying(16384))
from unnest(
    cast(:tile_row as int[]), cast(:tile_col as int[]), cast(:day as date[]),
    cast(:shift as smallint[]), cast(:bits as text[])
) as t (tile_row, tile_col, day, shift, bits)
order by t.tile_row, t.tile_col, t.day, t.shift
on conflict (tile_row, tile_col, day, shift) do update
set bits = seen_tiles.bits | excluded.bits
where (seen_tiles.bits | excluded.bits) <> seen_tiles.bits
