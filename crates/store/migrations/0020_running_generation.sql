-- What runs is counted through indexes whose first column moves on. As long as one old snapshot is open (a backup, a report),
-- nothing that has ended can leave an index, and a count walked through all of it. Now what still runs is carried into the
-- next generation from time to time, and no count looks at the ended entries of those before.

create table running_generation (
    only_row boolean primary key default true check (only_row),
    number bigint not null
) with (fillfactor = 10);
insert into running_generation (number) values (0);

-- Roles of the release before write no generation, and must not write one that nobody counts.
create function current_running_generation() returns bigint language sql stable
    as 'select number from running_generation';

alter table attempts add column generation bigint not null default 0;
alter table attempts alter column generation set default current_running_generation();

drop index attempts_running;
drop index attempts_of_worker;
create index attempts_running on attempts (generation, account_id, batch_id) where state = 'running';
create index attempts_of_worker on attempts (generation, worker_id) where state = 'running';
