-- What was said during builds, where no attempt has it any more. One that comes back meanwhile tells it again. Not
-- `exists`: that would read all attempts' rows at each round.
delete from environment_log_texts t
where t.told_at < now() - $1::interval
    and (
        select true from environment_logs l
        where l.account_id = t.account_id and l.log_sha256 = t.sha256 and l.log_sha256 is not null
        limit 1
    ) is null
