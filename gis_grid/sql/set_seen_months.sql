-- A row is a rolled month of a tile, set to what its days hold.
update seen_months m
set bits = (
    select bit_or(s.bits)
    from seen_tiles s
    where (s.tile_row, s.tile_col, s.shift) = (m.tile_row, m.tile_col, m.shift)
      and s.day >= m.month and s.day < m.month + interval '1 month'
)
from (
    select distinct t.tile_row, t.tile_col, date_trunc('month', t.day)::date as month, t.shift
    from unnest(
        cast(:tile_row as int[]), cast(:tile_col as int[]), cast(:day as date[]), cast(:shift as smallint[])
    ) as t (tile_row, tile_col, day, shift)
) asked
where (m.tile_row, m.tile_col, m.month, m.shift) = (asked.tile_row, asked.tile_col, asked.month, asked.shift)
