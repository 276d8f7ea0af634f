-- A row is one tile of one shift, all days of a month together.
insert into seen_months (tile_row, tile_col, month, shift, bits)
select s.tile_row, s.tile_col, cast(:month as date), s.shift, bit_or(s.bits)
from seen_tiles s
where s.day >= cast(:month as date) and s.day < cast(:month as date) + interval '1 month'
group by s.tile_row, s.tile_col, s.shift
order by s.tile_row, s.tile_col, s.shift
on conflict (tile_row, tile_col, month, shift) do update set bits = excluded.bits
