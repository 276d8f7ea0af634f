-- A row is the next serial number of a day; no row once the five digits are used up.
insert into case_serials as s (day, last)
values (:day, 1)
on conflict (day) do update set last = s.last + 1 where s.last < 99999
returning last
