//! Guards that a test may switch off, to show that it fails without them: `guards.toml` names each guard, the rule
//! that it is for, and its test; `cargo xtask soak --guards` tries all of them.
//!
//! Only the feature `guards-off`, which no release has, knows switches: there `GUARD_OFF=name` removes one guard. In
//! every other build a query keeps its text, [`holds`] is true, and nothing of this is left.

/// One guard: what of a query's text is it, and what stands there without it.
#[cfg_attr(not(feature = "guards-off"), expect(dead_code, reason = "only the switch reads it"))]
pub(crate) struct Guard {
    name: &'static str,
    swaps: &'static [(&'static str, &'static str)],
}

const fn guard(name: &'static str, swaps: &'static [(&'static str, &'static str)]) -> Guard {
    Guard { name, swaps }
}

/// The text of a query; with one of its guards off, the text without that guard.
#[cfg(not(feature = "guards-off"))]
pub(crate) const fn sql(_: &[&Guard], text: &'static str) -> &'static str {
    text
}

/// False when the guard is switched off.
#[cfg(not(feature = "guards-off"))]
pub(crate) const fn holds(_: &Guard) -> bool {
    true
}

/// The text of a query; with one of its guards off, the text without that guard.
#[cfg(feature = "guards-off")]
pub(crate) fn sql(guards: &[&Guard], text: &'static str) -> &'static str {
    let Some(guard) = guards.iter().find(|guard| !holds(guard)) else { return text };
    let swapped = guard.swaps.iter().fold(text.to_owned(), |text, (on, off)| text.replace(on, off));
    assert_ne!(swapped, text, "the query does not hold what {} is made of", guard.name);
    // A test's process ends soon.
    swapped.leak()
}

/// False when the guard is switched off.
#[cfg(feature = "guards-off")]
pub(crate) fn holds(guard: &Guard) -> bool {
    static OFF: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    OFF.get_or_init(|| std::env::var("GUARD_OFF").ok()).as_deref() != Some(guard.name)
}

// Attempts: who may say anything of one.
pub(crate) const FENCE_TOKEN: Guard = guard(
    "fence-token",
    &[("token_sha256 = $3", "$3::bytea is not null"), ("a.token_sha256 = $4", "$4::bytea is not null")],
);
pub(crate) const FENCE_WORKER: Guard =
    guard("fence-worker", &[(" and worker_id = $4", " and $4::text is not null")]);
pub(crate) const FENCE_CURRENT: Guard = guard("fence-current", &[(" and a.state = 'running'", "")]);
pub(crate) const START_CURRENT: Guard = guard("start-current", &[(" and state = 'running'", "")]);
pub(crate) const FINISH_ONCE: Guard = guard("finish-once", &[]);
pub(crate) const FINISH_REPEATED: Guard = guard("finish-repeated", &[]);
pub(crate) const LOGS_BEFORE_FINISH: Guard = guard("logs-before-finish", &[]);
pub(crate) const OUTPUTS_COMMITTED: Guard = guard("outputs-committed", &[]);
pub(crate) const OUTPUTS_IN_PLACE: Guard = guard("outputs-in-place", &[]);
pub(crate) const CANCELLED_NOT_RETRIED: Guard = guard("cancelled-not-retried", &[]);
pub(crate) const RETRIES_END: Guard = guard("retries-end", &[]);
pub(crate) const CANCEL_WAITS_FOR_THE_ATTEMPT: Guard =
    guard("cancel-waits-for-the-attempt", &[("status = any($7)", "$7::text[] is not null")]);

// Leases: when an attempt may be taken away.
pub(crate) const LEASE_OVER: Guard =
    guard("lease-over", &[("a.lease_until < clock_timestamp() and quiet.over", "quiet.over")]);
pub(crate) const OUTAGE_GRACE: Guard = guard(
    "outage-grace",
    &[(
        "o.last_gap_end <= clock_timestamp() - make_interval(secs => $4::bigint / 1000.0)",
        "$4::bigint is not null",
    )],
);
pub(crate) const OUTAGE_NOW: Guard = guard(
    "outage-now",
    &[(
        "o.last_beat_at >= clock_timestamp() - make_interval(secs => $5::bigint / 1000.0)",
        "$5::bigint is not null",
    )],
);
pub(crate) const UNNAMED_RECHECK: Guard =
    guard("unnamed-recheck", &[("a.named_at is null and a.claimed_at", "a.claimed_at")]);
pub(crate) const UNNAMED_FREE: Guard = guard("unnamed-free", &[]);
pub(crate) const RENEW_WHAT_IS_NAMED: Guard = guard(
    "renew-what-is-named",
    &[
        ("a.execution_id = held.execution_id and a.number = held.number\n", "true\n"),
        ("and a.token_sha256 = held.token_sha256 and a.worker_id", "and a.worker_id"),
    ],
);

// The claim.
pub(crate) const CLAIM_LOCK: Guard = guard("claim-lock", &[]);
pub(crate) const BATCH_LIMIT: Guard = guard(
    "batch-limit",
    &[
        ("(select b.parallel from batches b where b.id = lane.batch_id) - (", "null::integer - ("),
        ("and (l.batch_id is null or l.batch_id not in (select id from full_batch))", ""),
    ],
);
pub(crate) const WORKER_CAPACITY: Guard = guard(
    "worker-capacity",
    &[
        ("held.count as held,", "0::bigint as held,"),
        ("held.cpu_millis as held_cpu_millis", "0::bigint as held_cpu_millis"),
        ("held.memory_bytes as held_memory_bytes", "0::bigint as held_memory_bytes"),
    ],
);
pub(crate) const WORKER_ACTIVE: Guard = guard("worker-active", &[(" and w.status = 'active'", "")]);
pub(crate) const QUEUED_WITH_SUBMISSION: Guard = guard("queued-with-submission", &[]);
pub(crate) const INPUTS_HELD: Guard = guard("inputs-held", &[]);

// Environments.
pub(crate) const ONE_BUILDER: Guard =
    guard("one-builder", &[("(c.build_until is null or", "(true or c.build_until is null or")]);

// What answers another submission.
pub(crate) const REUSE_SAME_PLATFORM: Guard =
    guard("reuse-same-platform", &[("c.platform = (", "c.platform is distinct from (")]);
pub(crate) const REUSE_OUTPUTS_HERE: Guard = guard("reuse-outputs-here", &[]);

// The fleet.
pub(crate) const DEAD_RECHECK: Guard = guard(
    "dead-recheck",
    &[("> coalesce($5::timestamptz, '-infinity')", "> coalesce($5::timestamptz, '-infinity') and false")],
);
pub(crate) const DEAD_REQUEUED: Guard = guard("dead-requeued", &[]);
pub(crate) const NO_OPEN_ATTEMPT: Guard =
    guard("no-open-attempt", &[("and a.state = 'running')", "and a.state = 'running' and false)")]);
pub(crate) const CREDENTIAL_DIES: Guard = guard("credential-dies", &[(" credential_sha256 = null,", "")]);
pub(crate) const LEADER_TERM: Guard = guard("leader-term", &[("term = $1", "$1::bigint is not null")]);
pub(crate) const LEADER_DEADLINE: Guard =
    guard("leader-deadline", &[(" and deadline > clock_timestamp()", "")]);
pub(crate) const ONE_LEADER: Guard =
    guard("one-leader", &[("where holder is null or holder = $1 or deadline <= clock_timestamp()", "")]);

// Who may see and say what.
pub(crate) const IDEMPOTENCY_KEY: Guard = guard("idempotency-key", &[]);
pub(crate) const IDEMPOTENCY_BODY: Guard = guard("idempotency-body", &[]);
pub(crate) const ACCOUNT_EXECUTIONS: Guard =
    guard("account-executions", &[("e.account_id = $1 and", "$1::text is not null and")]);
pub(crate) const ACCOUNT_BLOBS: Guard =
    guard("account-blobs", &[("where account_id = $1 and", "where $1::text is not null and")]);
pub(crate) const ACCOUNT_LOGS: Guard =
    guard("account-logs", &[("and e.account_id = $2", "and $2::text is not null")]);
pub(crate) const JOIN_TOKEN_ONCE: Guard = guard(
    "join-token-once",
    &[("t.used_at is null and ", ""), ("status = any($13)", "$13::text[] is not null")],
);
pub(crate) const JOIN_TOKEN_NONCE: Guard =
    guard("join-token-nonce", &[("t.nonce = $2", "$2::text is not null")]);
pub(crate) const JOIN_TOKEN_EXPIRY: Guard = guard("join-token-expiry", &[(" and t.expires_at > now()", "")]);
pub(crate) const KEY_REVOKED: Guard = guard("key-revoked", &[(" and k.revoked_at is null", "")]);
pub(crate) const SEALED_IN_ITS_PLACE: Guard = guard("sealed-in-its-place", &[]);

// Bytes.
pub(crate) const BLOB_HASH: Guard = guard("blob-hash", &[]);
pub(crate) const UPLOAD_COMMITTED_ONCE: Guard = guard("upload-committed-once", &[("for no key update", "")]);
pub(crate) const BLOB_HELD: Guard = guard("blob-held", &[("for key share", "")]);
pub(crate) const BLOB_RECHECK: Guard =
    guard("blob-recheck", &[("($3 or e.finished_at is null)", "($3 or e.finished_at is null) and false")]);
pub(crate) const LOG_ONCE: Guard = guard("log-once", &[]);
pub(crate) const LOG_WITHOUT_HOLE: Guard = guard("log-without-hole", &[]);

// Servers that are bought.
pub(crate) const HELD_TO_PROMISE: Guard = guard("held-to-promise", &[]);
pub(crate) const ORDER_BEFORE_CREATE: Guard = guard("order-before-create", &[]);
pub(crate) const SEEN_IS_NOT_REFUSED: Guard = guard("seen-is-not-refused", &[(" and server is null", "")]);
pub(crate) const PRICE_AT_CREATION: Guard = guard(
    "price-at-creation",
    &[(
        "case when server_created_at is null then coalesce($4::text::numeric, server_hour) else server_hour end",
        "coalesce($4::text::numeric, server_hour)",
    )],
);
pub(crate) const DELETE_ENDS_THE_BILL: Guard =
    guard("delete-ends-the-bill", &[("coalesce(delete_taken_at, $2)", "$2")]);
pub(crate) const ONLY_HOURS_THAT_BEGAN: Guard =
    guard("only-hours-that-began", &[("hour_start >= $2", "hour_start >= $2 and false")]);
pub(crate) const DEMAND_WITHIN_LIMITS: Guard = guard(
    "demand-within-limits",
    &[("case when b.parallel is not null then greatest(b.parallel - coalesce(r.count, 0), 0) end", "null")],
);
pub(crate) const LEAVES_UNDER_THE_CLAIM_LOCK: Guard = guard("leaves-under-the-claim-lock", &[]);
