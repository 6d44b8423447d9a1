//! Every number that bounds something, with its name. A limit that stands anywhere else is a mistake.

use std::time::Duration;

/// A runner tells the grid that it lives, this often.
pub const HEARTBEAT_PERIOD: Duration = Duration::from_secs(5);
/// A lease lasts this long from its renewal.
pub const LEASE: Duration = Duration::from_secs(20);
/// A lease is renewed by a heartbeat when less than this is left (SEMANTICS section 2).
pub const LEASE_RENEW_BELOW: Duration = Duration::from_secs(12);
/// A worker is called dead after this silence.
pub const DEAD_AFTER: Duration = Duration::from_secs(25);
/// An attempt that its worker has not named this long after the claim goes back to the queue, for free.
pub const UNNAMED_AFTER: Duration = Duration::from_secs(20);
/// A gap between beats of all API replicas that counts as an outage.
pub const OUTAGE_GAP: Duration = Duration::from_secs(3);
/// A runner keeps its jobs and its finishes this long without an API.
pub const RUNNER_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Uploads may take this long after an attempt's own timeout.
pub const UPLOAD_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Flush of the heartbeats and the API's own beat.
pub const HEARTBEAT_FLUSH: Duration = Duration::from_millis(500);
/// A process sends at most one NOTIFY per channel in this time.
pub const NOTIFY_PERIOD: Duration = Duration::from_millis(20);
/// What covers a lost NOTIFY.
pub const POLL_FALLBACK: Duration = Duration::from_secs(1);
/// The longest a poll for work waits before it is answered with nothing.
pub const LEASE_POLL_WAIT: Duration = Duration::from_secs(20);
/// Polls that one claim transaction serves.
pub const CLAIM_POLLS_MAX: usize = 64;
/// Attempts that one claim transaction hands out, over all its polls.
pub const CLAIM_ATTEMPTS_MAX: usize = 64;
/// An execution that waited this long as its account's first reserves the next worker that could hold it.
pub const RESERVE_AFTER: Duration = Duration::from_secs(600);
/// Leadership of the orchestrator lasts this long from its renewal.
pub const LEADER_TTL: Duration = Duration::from_secs(4);
/// Leadership is renewed this often.
pub const LEADER_RENEW: Duration = Duration::from_secs(1);

/// Time from SIGINT to SIGKILL when an attempt is ended; SIGTERM comes at half of it.
pub const GRACE: Duration = Duration::from_secs(10);
/// The longest grace one may ask for.
pub const GRACE_MAX: Duration = Duration::from_secs(600);
/// How long an execution may run unless it asks.
pub const TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// The longest it may ask for.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Lost attempts are retried this often unless the execution asks.
pub const RETRIES: u32 = 2;
/// The most retries one may ask for.
pub const RETRIES_MAX: u32 = 100;
/// Executions of one batch that run at once unless it asks.
pub const BATCH_PARALLEL: u32 = 10;
/// `pending` expires this long after the last byte received.
pub const PENDING_EXPIRES: Duration = Duration::from_secs(3600);
/// An attempt may build an environment this long; so long the others that need the same wait for it.
pub const ENVIRONMENT_BUILD: Duration = Duration::from_secs(30 * 60);
/// Bytes of what is told of a build that failed: the end of what the installer said.
pub const BUILD_MESSAGE_BYTES_MAX: usize = 8 << 10;
/// Bytes of the log of an environment: the end of what was said while it was built.
pub const ENVIRONMENT_LOG_BYTES_MAX: usize = 64 << 10;
/// Bytes of the sentence on what an attempt does before its script starts.
pub const PREPARING_BYTES_MAX: usize = 512;
/// Bytes of the name of an image, with its digest.
pub const IMAGE_BYTES_MAX: usize = 512;
/// An idempotency key is remembered this long.
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Logs, outputs and unused blobs are kept this long.
pub const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Objects outlive their rows by this: the age of the oldest backup that may be restored (SEMANTICS section 5).
pub const OBJECTS_OUTLIVE_ROWS: Duration = Duration::from_secs(7 * 24 * 3600);

/// A log above this keeps its first and last halves.
pub const LOG_BYTES_MAX: u64 = 64 << 20;
/// PostgreSQL holds at most this much of an attempt's log; older ranges move to objects.
pub const LOG_TAIL_BYTES: u64 = 1 << 20;
/// A push of log bytes holds at most this many.
pub const LOG_PUSH_BYTES: usize = 256 << 10;
/// Log bytes are pushed this often while someone follows.
pub const LOG_PUSH_FOLLOWED: Duration = Duration::from_millis(200);
/// And this often when nobody does.
pub const LOG_PUSH_UNFOLLOWED: Duration = Duration::from_secs(2);
/// Replicas that serve followers look for new log bytes this often.
pub const FOLLOW_POLL: Duration = Duration::from_millis(50);
/// Bytes of stdin that may travel.
pub const STDIN_BYTES_MAX: u64 = 1 << 30;
/// All outputs of an execution together.
pub const OUTPUT_BYTES_MAX: u64 = 10 << 30;
/// Files in one set of outputs.
pub const OUTPUT_FILES_MAX: usize = 100_000;
/// Disk of an attempt unless it asks; never more than its share of what is free.
pub const DISK_BYTES: u64 = 20 << 30;
/// Processes and threads of one attempt.
pub const PROCESSES_MAX: u32 = 4096;

/// Above this the client asks before it sends (bytes not yet on the grid).
pub const ASK_ABOVE_BYTES: u64 = 1 << 30;
/// Above this the client asks before it sends (files not yet on the grid).
pub const ASK_ABOVE_FILES: usize = 10_000;
/// Files in one manifest.
pub const MANIFEST_FILES_MAX: usize = 100_000;
/// Arguments of a script.
pub const ARGUMENTS_MAX: usize = 20_000;
/// All arguments together, as Linux bounds them by default (a quarter of the 8 MiB stack).
pub const ARGUMENT_BYTES_MAX: usize = 2 << 20;
/// Environment variables that travel.
pub const VARIABLES_MAX: usize = 500;
/// One environment variable, name and value (Linux: MAX_ARG_STRLEN).
pub const VARIABLE_BYTES_MAX: usize = 128 << 10;
/// Entries of metadata.
pub const METADATA_MAX: usize = 50;
/// One metadata key or value, a name of an execution.
pub const METADATA_BYTES_MAX: usize = 256;
/// Size of a part of a resumable upload.
pub const PART_BYTES: u64 = 16 << 20;
/// Biggest blob: 10,000 parts, as S3 has it.
pub const BLOB_BYTES_MAX: u64 = PART_BYTES * 10_000;
/// Body of a JSON request.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Items of one page of a list.
pub const PAGE_ITEMS_MAX: u32 = 1000;
/// Items of a page unless it is asked for.
pub const PAGE_ITEMS: u32 = 100;
/// Requests per second of one key, averaged over ten seconds.
pub const KEY_REQUESTS_PER_SECOND: u32 = 500;

/// Connections that one API replica serves at once: a heartbeat's and a poll's of 10,000 workers, and people.
pub const CONNECTIONS_MAX: usize = 25_000;
/// Of them from one address that is not the replica's own machine.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 2_000;
/// The head of a request arrives within this; a connection without a request is closed after it.
pub const REQUEST_HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// A JSON body arrives within this.
pub const BODY_DEADLINE: Duration = Duration::from_secs(60);
/// A part of an upload brings some bytes at least this often.
pub const PART_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Who reads an answer takes some bytes of it at least this often: a follower whose terminal was held for longer goes on
/// by its cursor when it is let go.
pub const ANSWER_PAUSE_MAX: Duration = Duration::from_secs(5 * 60);
/// A part of an upload is there within this: 16 MiB at 18 KiB/s.
pub const PART_DEADLINE: Duration = Duration::from_secs(15 * 60);
/// Logs that one key follows at one replica.
pub const FOLLOWS_PER_KEY_MAX: usize = 1_000;

/// Workers a grid may have unless it is told otherwise.
pub const WORKERS_MAX: u32 = 10;
/// A server must exist this long after it was asked for.
pub const CREATE_DEADLINE: Duration = Duration::from_secs(120);
/// A worker must join this long after its server was there.
pub const JOIN_DEADLINE: Duration = Duration::from_secs(300);
/// A worker of the `local` provider that idles this long is stopped.
pub const LOCAL_IDLE: Duration = Duration::from_secs(60);
/// The embedded grid stops after this long without work, follower or transfer.
pub const EMBEDDED_IDLE: Duration = Duration::from_secs(15 * 60);

/// What is expected from the order of a server to its first attempt.
pub const SERVER_BOOT: Duration = Duration::from_secs(60);
/// An idle server is released so long before its next paid hour: time for locks and failed calls.
pub const EDGE_MARGIN: Duration = Duration::from_secs(180);
/// A server older than this is drained.
pub const SERVER_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// A silent server without work is given this long to come back, and at most until its hour's edge.
pub const SILENT_SERVER: Duration = RUNNER_PATIENCE;
/// A type that was refused at a location rests there for this long, doubled with each refusal in a row,
pub const CELL_REST_MIN: Duration = Duration::from_secs(60);
/// to this.
pub const CELL_REST_MAX: Duration = Duration::from_secs(15 * 60);
/// A type whose worker joined with less than was promised is not bought for this long.
pub const SHORT_TYPE_REST: Duration = Duration::from_secs(24 * 3600);
/// Nothing is ordered for this long after the account's limit was reached, doubled to [`CELL_REST_MAX`].
pub const QUOTA_REST_MIN: Duration = Duration::from_secs(5 * 60);
/// Nothing is ordered for this long after too many calls or a failure of the provider, doubled with each in a row.
pub const RATE_REST_MIN: Duration = Duration::from_secs(2);
/// Nothing is ordered for this long after the second server in a row that never joined, doubled with each,
pub const BREAKER_REST_MIN: Duration = Duration::from_secs(5 * 60);
/// to this.
pub const BREAKER_REST_MAX: Duration = Duration::from_secs(3600);
/// Servers are not judged and deleted for this long after most of them fell silent at once.
pub const MASS_SILENCE_REST: Duration = Duration::from_secs(5 * 60);
/// Fewer workers than this never count as most of them.
pub const MASS_SILENCE_WORKERS: usize = 4;
/// What running work is expected to make room for is counted less so many standard deviations.
pub const FORECAST_DEVIATIONS: f64 = 1.0;
