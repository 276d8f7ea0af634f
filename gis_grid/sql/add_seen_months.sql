-- A row is one tile of one shift of a month that is rolled up already; it takes what a late upload added to its days.
insert into seen_months (tile_row, tile_col, month, shift, bits)
select s.tile_row, s.tile_col, r.month, s.shift, bit_or(s.bits)
from unnest(cast(:tile_row as int[]), cast(:tile_col as int[]), cast(:day as date[]), cast(:shift as smallint[]))
    as t (tile_row, tile_col, day, shift)
join rolled_months r on r.month = date_trunc('month', t.day)::date
join seen_tiles s using (tile_row, tile_col, day, shift)
group by s.tile_row, s.tile_col, r.month, s.shift
order by s.tile_row, s.tile_col, r.month, s.shift
on conflict (tile_row, tile_col, month, shift) do update
set bits = seen_months.bits | excluded.bits
where (seen_months.bits | excluded.bits) <> seen_months.bits
