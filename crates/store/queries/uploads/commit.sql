-- Makes verified uploads blobs. Where somebody was first, their object stays and this one is not needed.
with verified as (
    -- Held, and looked at once more: of two commits of one upload at once the second must not take its object, which is
    -- the blob's now, for one that is not needed; nor may a collection take the upload away meanwhile.
    select id, account_id, sha256, size_bytes, object_key from uploads
    where id = any ($1) and committed_at is null
    order by id
    for no key update
), first as (
    insert into blobs (account_id, sha256, object_key, size_bytes)
    select account_id, sha256, object_key, size_bytes from verified order by sha256
    on conflict (account_id, sha256) do nothing
    returning object_key
), committed as (
    update uploads u set committed_at = now() from verified where u.id = verified.id
), unneeded as (
    insert into discarded_objects (object_key, delete_after)
    select v.object_key, now() from verified v
    where v.object_key not in (select object_key from first)
        and not exists (select from blobs b where b.object_key = v.object_key)
    on conflict (object_key) do nothing
    returning object_key
)
select object_key from unneeded
