-- Lanes that wait are found through indexes whose first column moves on, as what runs is (migration 20): a lane leaves an entry
-- behind whenever its head moves, and as long as one old snapshot is open none of them goes, and each claim walked through all.

create table waiting_generation (
    only_row boolean primary key default true check (only_row),
    number bigint not null
) with (fillfactor = 10);
insert into waiting_generation (number) values (0);

alter table lanes add column generation bigint not null default 0;

-- Whoever makes a lane wait makes it wait in the current generation, and the next one does not begin before that is
-- committed: it takes this lock alone. In the database, so that roles of the release before do the same.
create function wait_in_current_generation() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(1919352835, 0);
    new.generation := (select number from waiting_generation);
    return new;
end
$$;
create trigger lanes_wait before insert or update of head_age on lanes
    for each row when (new.head_age is not null) execute function wait_in_current_generation();

drop index lanes_waiting;
drop index lanes_of_images;
create index lanes_waiting on lanes (generation, account_id, priority desc, head_age) where head_age is not null;
create index lanes_of_images on lanes (generation) where sandbox = 'docker' and head_age is not null;
