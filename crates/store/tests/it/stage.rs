//! What a test of this crate starts from: a database, an account in it, and executions with running attempts.

use std::collections::BTreeMap;
use std::time::Duration;

use rgrid_core::id::{AccountId, ExecutionId, WorkerId};
use rgrid_core::runtime::DEFAULT_RUNTIME;
use rgrid_core::submission::{Draft, Input, InputKind, Program, Sha256, Submission, Wanted};
use rgrid_store::Store;
use rgrid_store::attempts::AttemptAuth;
use rgrid_store::testing::{TestDatabase, database};
use sha2::Digest;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// A database with one account.
pub(crate) struct Stage {
    pub(crate) database: TestDatabase,
    pub(crate) store: Store,
    pub(crate) account: AccountId,
}

/// The hash of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// Bytes that differ at every place where a mistake would show: each block of 4 KiB starts with its number.
pub(crate) fn content(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![seed; length];
    for (number, block) in bytes.chunks_mut(4096).enumerate() {
        let stamp = (number as u64 ^ u64::from(seed) << 56).to_be_bytes();
        let cut = block.len().min(8);
        block[..cut].copy_from_slice(&stamp[8 - cut..]);
    }
    bytes
}

/// An id for a test: the same `seed` gives the same one.
pub(crate) fn worker(seed: u8) -> WorkerId {
    WorkerId::new(1, [seed; 10])
}

/// A submission of a module, with these files.
pub(crate) fn submission(files: &[&[u8]], stdin: bool) -> Submission {
    let file = |(number, content): (usize, &&[u8])| Input {
        path: format!("/home/ada/{number}").parse().unwrap(),
        kind: InputKind::File {
            sha256: sha256(content),
            size_bytes: content.len() as u64,
            mode: 0o644,
            modified_ns: 0,
        },
    };
    let draft = Draft {
        name: None,
        program: Program::Module("word_count".to_owned()),
        args: Vec::new(),
        cwd: "/home/ada".parse().unwrap(),
        project_root: "/home/ada".parse().unwrap(),
        inputs: files.iter().enumerate().map(file).collect(),
        runtime: DEFAULT_RUNTIME,
        interpreter: None,
        interpreter_state: None,
        environment: BTreeMap::new(),
        stdin,
        wanted: Wanted::default(),
        timeout: Duration::from_secs(60),
        grace: Duration::from_secs(10),
        retries: 2,
        retry_on: Vec::new(),
        network: false,
        output_roots: Vec::new(),
        outputs: Vec::new(),
        priority: 0,
        metadata: BTreeMap::new(),
        umask: rgrid_core::submission::UMASK,
        dependencies: None,
    };
    draft.parse().unwrap()
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let database = database().await;
        let store = database.store();
        let account = store.default_account().await.unwrap().id;
        Self { database, store, account }
    }

    /// A connection for what no call of the store does.
    pub(crate) async fn sql(&self) -> PgConnection {
        PgConnection::connect(&self.database.url).await.unwrap()
    }

    /// Runs statements of the test's own making.
    pub(crate) async fn execute(&self, statements: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(statements.into())).execute(&mut self.sql().await).await.unwrap();
    }

    /// Counts what a query counts.
    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&mut self.sql().await).await.unwrap()
    }

    pub(crate) async fn submit(&self, files: &[&[u8]], stdin: bool) -> ExecutionId {
        let submission = submission(files, stdin);
        let created = self.store.create_execution(self.account, &submission, false, None).await.unwrap();
        created.execution.id
    }

    /// An execution whose first attempt runs.
    pub(crate) async fn running(&self, stdin: bool) -> AttemptAuth {
        let execution = self.submit(&[], stdin).await;
        self.next_attempt(execution).await
    }

    /// Ends the attempt that runs, if one does, and begins the next.
    pub(crate) async fn next_attempt(&self, execution: ExecutionId) -> AttemptAuth {
        self.end_attempt(execution).await;
        let token = format!("token of {execution}");
        let (account, worker_id) = (self.account, worker(1));
        self.execute(format!(
            "insert into workers (id, provider, status) values ('{worker_id}', 'static', 'active')
                on conflict do nothing;
            delete from queue where execution_id = '{execution}';
            update executions set status = 'running', attempt = attempt + 1 where id = '{execution}';
            insert into attempts (execution_id, number, worker_id, account_id, cpu_millis, memory_bytes,
                disk_bytes, placed_by, token_sha256, lease_until)
            select '{execution}', attempt, '{worker_id}', '{account}', 1000, 1, 1, 'pool', sha256('{token}'),
                now() + interval '20 seconds'
            from executions where id = '{execution}'"
        ))
        .await;
        let row = self.store.execution(self.account, execution).await.unwrap();
        AttemptAuth { execution_id: execution, attempt: row.attempt, token, worker_id }
    }

    /// Ends the attempt that runs, as a lost one.
    pub(crate) async fn end_attempt(&self, execution: ExecutionId) {
        self.execute(format!(
            "update attempts set state = 'lost', ended_at = now()
            where execution_id = '{execution}' and state = 'running'"
        ))
        .await;
    }

    /// Ends an execution, `days` ago.
    pub(crate) async fn end_execution(&self, execution: ExecutionId, days: u32) {
        self.end_attempt(execution).await;
        self.execute(format!(
            "delete from queue where execution_id = '{execution}';
            update executions set status = 'cancelled', finished_at = now() - interval '{days} days',
                outcome_kind = 'cancelled', outcome = '{{}}'
            where id = '{execution}'"
        ))
        .await;
    }
}
