-- A row is one request of a peer that became this case, or one that was merged into it, however often.
with recursive family (id) as (
    select cast(:case_id as bigint)
    union
    select c.id
    from family f
    join case_events e on e.case_id = f.id and e.action = 'absorb'
    -- A serial number has 19 digits, the number of a case that has none yet fewer.
    join cases c on c.serial = e.said ->> 'merged'
        or c.id = case when e.said ->> 'merged' ~ '^[0-9]{1,18}$' then cast(e.said ->> 'merged' as bigint) end
)
select r.peer, r.message_id
from exchange_receipts r
join family f on f.id = r.case_id
where r.kind = 'request'
order by r.peer, r.message_id
