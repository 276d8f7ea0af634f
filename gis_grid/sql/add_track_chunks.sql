-- A row is one chunk; the same fixes of the same track again are left alone, and only new rows come back.
insert into track_chunks (
    track, sequence, content_sha256, team, walker, source, received_at, is_synthetic, started_at, ended_at, geom,
    accuracy_m, uncounted
)
select t.track, t.sequence, t.content_sha256, t.team, t.walker, t.source, t.received_at, t.is_synthetic,
       t.started_at, t.ended_at, cast(t.geom as geometry), cast(t.accuracy_m as real[]), cast(t.uncounted as jsonb)
from unnest(
    cast(:track as text[]), cast(:sequence as int[]), cast(:content_sha256 as text[]), cast(:team as text[]),
    cast(:walker as text[]), cast(:source as text[]), cast(:received_at as timestamptz[]),
    cast(:is_synthetic as boolean[]), cast(:started_at as timestamptz[]), cast(:ended_at as timestamptz[]),
    cast(:geom as text[]), cast(:accuracy_m as text[]), cast(:uncounted as text[])
) as t (
    track, sequence, content_sha256, team, walker, source, received_at, is_synthetic, started_at, ended_at, geom,
    accuracy_m, uncounted
)
on conflict (track, content_sha256, started_at) do nothing
returning track, content_sha256
