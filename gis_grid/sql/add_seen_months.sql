-- A row is one tile of one shift of a month that is rolled up already; it takes what a late upload saw.
insert into seen_months (tile_row, tile_col, month, shift, bits)
select t.tile_row, t.tile_col, r.month, t.shift, bit_or(cast(t.bits as bit varying(16384)))
from unnest(
    cast(:tile_row as int[]), cast(:tile_col as int[]), cast(:day as date[]),
    cast(:shift as smallint[]), cast(:bits as text[])
) as t (tile_row, tile_col, day, shift, bits)
join rolled_months r on r.month = date_trunc('month', t.day)::date
group by t.tile_row, t.tile_col, r.month, t.shift
order by t.tile_row, t.tile_col, r.month, t.shift
on conflict (tile_row, tile_col, month, shift) do update
set bits = seen_months.bits | excluded.bits
where (seen_months.bits | excluded.bits) <> seen_months.bits
