-- A row is a place (grid or block) with its cells, those not excluded, and those of them seen in the window.
-- The window comes as whole months that are rolled up, and the ranges of days that these leave.
with masks as materialized (
    select m.place_id, m.tile_row, m.tile_col, m.bits
    from ground_masks m
    where m.kind = :kind and m.place_id = any(cast(:places as int[]))
),
tiles as materialized (select distinct tile_row, tile_col from masks),
excluded as materialized (
    select m.tile_row, m.tile_col, bit_or(m.bits) as bits
    from ground_masks m
    join excluded_grounds e on e.id = m.place_id
    where m.kind = 'excluded' and e.since <= cast(:as_of as date) and (e.until is null or e.until >= cast(:as_of as date))
    group by m.tile_row, m.tile_col
),
seen as materialized (
    select tiles.tile_row, tiles.tile_col,
           case when excluded.bits is null then found.bits else found.bits & ~excluded.bits end as bits
    from tiles
    cross join lateral (
        select bit_or(parts.bits) as bits
        from (
            select s.bits
            from seen_months s
            where s.tile_row = tiles.tile_row and s.tile_col = tiles.tile_col
                and s.month = any(cast(:months as date[])) and s.shift = any(cast(:shifts as smallint[]))
            union all
            select s.bits
            from unnest(cast(:starts as date[]), cast(:ends as date[])) as days (starts, ends)
            join seen_tiles s on s.day between days.starts and days.ends
            where s.tile_row = tiles.tile_row and s.tile_col = tiles.tile_col
                and s.shift = any(cast(:shifts as smallint[]))
        ) parts
    ) found
    left join excluded using (tile_row, tile_col)
)
select masks.place_id,
       sum(bit_count(masks.bits)) as whole,
       sum(bit_count(masks.bits) - coalesce(bit_count(masks.bits & excluded.bits), 0)) as ground,
       sum(coalesce(bit_count(masks.bits & seen.bits), 0)) as seen
from masks
left join seen using (tile_row, tile_col)
left join excluded using (tile_row, tile_col)
group by masks.place_id
