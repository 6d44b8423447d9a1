-- Bytes of all blobs.
select coalesce(sum(size_bytes), 0)::bigint from blobs
