-- A row is a month whose table of chunks is there now, made where it was not.
select ensure_track_month(cast(t.month as date)) from unnest(cast(:months as text[])) as t (month)
