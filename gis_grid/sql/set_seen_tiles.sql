-- A row is one tile of one shift of one day, set to these bits whatever it held.
update seen_tiles s
set bits = cast(t.bits as bit varying(16384))
from unnest(
    cast(:tile_row as int[]), cast(:tile_col as int[]), cast(:day as date[]),
    cast(:shift as smallint[]), cast(:bits as text[])
) as t (tile_row, tile_col, day, shift, bits)
where (s.tile_row, s.tile_col, s.day, s.shift) = (t.tile_row, t.tile_col, t.day, t.shift)
