-- A row is a stored chunk of one of the tracks that comes within a gap's length of the time asked, with its line.
-- A chunk is at most 6 h long, which lets the months be told from started_at alone.
select c.track, c.content_sha256, c.started_at, ST_AsBinary(c.geom) as line
from track_chunks c
where c.track = any(cast(:tracks as text[]))
  and c.started_at >= cast(:since as timestamptz) - interval '6 hours' and c.started_at <= cast(:until as timestamptz)
  and c.ended_at >= cast(:since as timestamptz)
