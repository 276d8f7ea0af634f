-- A row is what one patroller saw of one tile in a month; what was added before stays.
insert into walked_tiles (walker, month, tile_row, tile_col, bits)
select t.walker, :month, t.tile_row, t.tile_col, cast(t.bits as bit varying(16384))
from unnest(cast(:walker as text[]), cast(:tile_row as int[]), cast(:tile_col as int[]), cast(:bits as text[]))
    as t (walker, tile_row, tile_col, bits)
on conflict (month, walker, tile_row, tile_col) do update
set bits = walked_tiles.bits | excluded.bits
