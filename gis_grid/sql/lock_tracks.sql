-- A row is one of the tracks, held until the transaction ends; everybody takes them in one order.
select pg_advisory_xact_lock(1006, hashtext(ordered.track))
from (select t.track from unnest(cast(:tracks as text[])) as t (track) order by hashtext(t.track)) ordered
