//! Logs of environments: each is its attempt's own, and goes with it.

use rgrid_core::environment::{EnvironmentOrigin, HasLog, Installation};
use rgrid_core::id::ExecutionId;
use rgrid_core::limits::ENVIRONMENT_LOG_BYTES_MAX;
use rgrid_core::outcome::Outcome;
use rgrid_store::Error;
use rgrid_store::attempts::AttemptAuth;

use crate::crew::finish;
use crate::stage::{Stage, worker};

const BUILT: EnvironmentOrigin = EnvironmentOrigin::Built;
const KEPT: EnvironmentOrigin = EnvironmentOrigin::Kept;

impl Stage {
    /// Where the installation of the newest attempt stands, and its log.
    async fn installation(&self, execution: ExecutionId) -> (Installation, Option<Vec<u8>>) {
        let (known, log) = self.store.environment_log(self.account, execution).await.unwrap();
        (Installation::of(&known), log)
    }

    async fn tell(&self, a: &AttemptAuth, origin: EnvironmentOrigin, log: &[u8]) {
        self.store.tell_environment_log(a, origin, Some(log)).await.unwrap();
    }
}

#[tokio::test]
async fn an_attempt_tells_once_or_again_and_the_newest_one_is_read() {
    let stage = Stage::new().await;
    let execution = stage.submit(&[], false).await;
    assert_eq!(stage.installation(execution).await, (Installation::NoPackages, None));
    stage.execute("update executions set dependencies = '{}'").await;
    assert_eq!(stage.installation(execution).await, (Installation::Waiting, None));

    let first = stage.next_attempt(execution).await;
    assert_eq!(stage.installation(execution).await, (Installation::Untold, None));
    stage.store.attempt_prepares(&first, Some("it installs"), None).await.unwrap();
    assert_eq!(stage.installation(execution).await, (Installation::Installing, None));
    for _ in 0..2 {
        stage.tell(&first, BUILT, b"\xff Installed\0\n").await;
        let told = (Installation::Told(BUILT, HasLog::Yes), Some(b"\xff Installed\0\n".to_vec()));
        assert_eq!(stage.installation(execution).await, told);
    }
    assert_eq!(stage.count("select count(*) from environment_logs").await, 1);

    let second = stage.next_attempt(execution).await;
    assert_eq!(stage.installation(execution).await, (Installation::Untold, None));
    stage.store.tell_environment_log(&second, KEPT, None).await.unwrap();
    assert_eq!(stage.installation(execution).await, (Installation::Told(KEPT, HasLog::No), None));
}

#[tokio::test]
async fn an_attempt_that_is_not_current_tells_nothing() {
    let stage = Stage::new().await;
    let first = stage.running(false).await;
    stage.tell(&first, BUILT, b"first").await;
    let second = stage.next_attempt(first.execution_id).await;
    stage.tell(&second, KEPT, b"second").await;
    let wrong_token = AttemptAuth { token: "guess".to_owned(), ..second.clone() };
    let wrong_worker = AttemptAuth { worker_id: worker(9), ..second.clone() };
    for stale in [first, wrong_token, wrong_worker] {
        let refused = stage.store.tell_environment_log(&stale, BUILT, Some(b"late")).await;
        assert!(matches!(refused, Err(Error::NotCurrent)), "{refused:?}");
    }
    stage.store.finish(&second, &finish(Outcome::Exited { code: 0 }), [1; 32]).await.unwrap();
    let late = stage.store.tell_environment_log(&second, BUILT, Some(b"late")).await;
    assert!(matches!(late, Err(Error::NotCurrent)), "{late:?}");
    let told = (Installation::Told(KEPT, HasLog::Yes), Some(b"second".to_vec()));
    assert_eq!(stage.installation(second.execution_id).await, told);
    assert_eq!(stage.count("select count(*) from environment_log_texts where log = 'first'").await, 1);
    assert_eq!(stage.count("select count(*) from environment_log_texts where log = 'late'").await, 0);
}

#[tokio::test]
async fn another_account_reads_no_log_of_an_environment() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    stage.tell(&a, BUILT, b"secret").await;
    let other = stage.store.create_account("other").await.unwrap().id;
    let refused = stage.store.environment_log(other, a.execution_id).await;
    assert!(matches!(refused, Err(Error::NotFound { what: "execution", .. })), "{refused:?}");
}

#[tokio::test]
async fn a_log_of_the_largest_size_is_taken_and_one_byte_more_is_not() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    stage.tell(&a, BUILT, &[b'x'; ENVIRONMENT_LOG_BYTES_MAX]).await;
    let refused =
        stage.store.tell_environment_log(&a, BUILT, Some(&[b'x'; ENVIRONMENT_LOG_BYTES_MAX + 1])).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    let held = sqlx::query("update environment_log_texts set log = log || 'x'")
        .execute(&mut stage.sql().await)
        .await;
    assert!(held.is_err(), "the database holds no more either");
}

#[tokio::test]
async fn what_many_attempts_tell_alike_is_kept_once_for_their_account() {
    let stage = Stage::new().await;
    for _ in 0..3 {
        let a = stage.running(false).await;
        stage.tell(&a, KEPT, b"Installed").await;
    }
    assert_eq!(stage.count("select count(*) from environment_logs").await, 3);
    assert_eq!(stage.count("select count(*) from environment_log_texts").await, 1);
}

#[tokio::test]
async fn logs_of_environments_go_with_their_execution() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    stage.tell(&a, BUILT, b"Installed").await;
    stage.execute("update environment_log_texts set told_at = now() - interval '32 days'").await;
    stage.end_execution(a.execution_id, 29).await;
    assert_eq!(stage.collect().await.executions, 0);
    assert_eq!(stage.count("select count(*) from environment_logs").await, 1);
    assert_eq!(stage.count("select count(*) from environment_log_texts").await, 1);
    stage.end_execution(a.execution_id, 31).await;
    assert_eq!(stage.collect().await.executions, 1);
    assert_eq!(stage.count("select count(*) from environment_logs").await, 0);
    assert_eq!(stage.count("select count(*) from environment_log_texts").await, 0);
}
