-- A row is a chunk, with its line, of a track that comes near some ground between two times.
with near as materialized (
    select distinct c.track
    from track_chunks c
    where c.started_at >= cast(:since as timestamptz) and c.started_at <= cast(:until as timestamptz)
      and ST_Intersects(c.geom, cast(:ground as geometry))
)
select c.track, ST_AsBinary(c.geom) as line
from track_chunks c
join near using (track)
where c.started_at >= cast(:since as timestamptz) and c.started_at <= cast(:until as timestamptz)
  and c.geom is not null
