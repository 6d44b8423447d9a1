//! Many queued executions at once, without a call for each: copies of one that was submitted and ended.

use rgrid_core::id::{AccountId, BatchId};

use crate::stage::Stage;

/// The id of a batch with a number.
pub(crate) fn numbered(number: u32) -> String {
    format!("batch_{number:026}")
}

impl Stage {
    /// Queues `count` executions in the account's lane of this batch, or of none.
    pub(crate) async fn queue(&self, account: AccountId, batch: Option<BatchId>, count: u32) {
        let batch = batch.map_or("null".to_owned(), |batch| format!("'{batch}'"));
        self.execute(format!(
            "insert into lanes (account_id, batch_id, priority, cpu_millis, memory_bytes, disk_bytes, sandbox)
            values ('{account}', {batch}, 0, 0, 0, 0, 'process') on conflict do nothing"
        ))
        .await;
        let sample = self.sample().await;
        self.queue_in_lanes(
            &sample,
            &format!(
                "l.account_id = '{account}' and l.batch_id is not distinct from {batch} and l.priority = 0
                    and l.cpu_millis = 0"
            ),
            count,
        )
        .await;
    }

    /// An execution that has ended, to be copied.
    pub(crate) async fn sample(&self) -> String {
        let sample = self.submit(&[], false).await;
        self.end_execution(sample, 0).await;
        self.execute("create sequence if not exists queued").await;
        sample.to_string()
    }

    /// Queues `each` copies of the sample in every lane `l` of which the condition holds, as a submission does it: the
    /// heads are lowered by a statement that is younger than the lanes' locks.
    pub(crate) async fn queue_in_lanes(&self, sample: &str, lanes: &str, each: u32) {
        self.execute(format!(
            "select pg_advisory_xact_lock_shared(1919352835, 0);
            with made as (
                insert into executions (id, account_id, batch_id, lane_id, status, program_kind, program, args, cwd,
                    project_root, runtime, environment_names, stdin, timeout_ms, grace_ms, retries, retry_on, network,
                    output_roots, outputs, priority, metadata)
                select 'exec_7' || lpad(nextval('queued')::text, 25, '0'), l.account_id, l.batch_id, l.id, 'queued',
                    e.program_kind, e.program, e.args, e.cwd, e.project_root, e.runtime, e.environment_names, e.stdin,
                    e.timeout_ms, e.grace_ms, e.retries, e.retry_on, e.network, e.output_roots, e.outputs, l.priority,
                    e.metadata
                from executions e, (select * from lanes l where {lanes} order by id for key share) l,
                    generate_series(1, {each}) n
                where e.id = '{sample}'
                returning id, lane_id, created_at
            )
            insert into queue (execution_id, lane_id, age) select id, lane_id, created_at from made;
            with late as (
                select l.id from lanes l where ({lanes}) and (l.head_age is null or l.head_age > now()) order by l.id for no key update
            )
            update lanes set head_age = now() from late where lanes.id = late.id;"
        ))
        .await;
    }

    /// Makes `count` batches of the account, numbered from `first`, each with one empty lane. `parallel` is SQL with the
    /// number `n`.
    pub(crate) async fn make_batches(&self, account: AccountId, first: u32, count: u32, parallel: &str) {
        let end = first + count - 1;
        self.execute(format!(
            "insert into batches (id, account_id, parallel)
            select 'batch_' || lpad(n::text, 26, '0'), '{account}', {parallel} from generate_series({first}, {end}) n;
            insert into lanes (account_id, batch_id, priority, cpu_millis, memory_bytes, disk_bytes, sandbox)
            select '{account}', 'batch_' || lpad(n::text, 26, '0'), 0, 0, 0, 0, 'process'
            from generate_series({first}, {end}) n"
        ))
        .await;
    }
}
