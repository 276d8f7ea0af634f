-- A row is a rolled month of a tile about to be set again, held so that no upload adds to it meanwhile.
select 1
from seen_months m
join (
    select distinct t.tile_row, t.tile_col, date_trunc('month', t.day)::date as month, t.shift
    from unnest(
        cast(:tile_row as int[]), cast(:tile_col as int[]), cast(:day as date[]), cast(:shift as smallint[])
    ) as t (tile_row, tile_col, day, shift)
) asked using (tile_row, tile_col, month, shift)
order by m.tile_row, m.tile_col, m.month, m.shift
for update of m
