-- Reads why work waits, if that was said lately.
select sentence from outlook where said_at > now() - interval '1 minute'
