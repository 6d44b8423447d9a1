//! Which earlier execution answers a submission, and which never does.

use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::outcome::Outcome;
use rgrid_core::submission::{Draft, Input, InputKind, Sha256, Submission};
use rgrid_store::attempts::{AttemptAuth, FinishRow, OutputRow};
use rgrid_store::stdin::StdinEnd;

use crate::crew::{changed, finish};
use crate::retention::RETENTION;
use crate::stage::{Stage, sha256};

const OUTPUT: &[u8] = b"a,b\n";

fn completed(platform: &[u8]) -> FinishRow {
    FinishRow {
        outputs: vec![OutputRow {
            path: "/home/ada/out.csv".parse().unwrap(),
            sha256: Some(sha256(OUTPUT)),
            size_bytes: OUTPUT.len() as u64,
            mode: 0o644,
            modified_ns: 1,
        }],
        platform: Some(sha256(platform)),
        ..finish(Outcome::Exited { code: 0 })
    }
}

fn file(path: &str, bytes: &[u8]) -> Input {
    let kind = InputKind::File {
        sha256: sha256(bytes),
        size_bytes: bytes.len() as u64,
        mode: 0o644,
        modified_ns: 0,
    };
    Input { path: path.parse().unwrap(), kind }
}

fn sent(change: impl FnOnce(&mut Draft)) -> Submission {
    changed(|draft| {
        draft.inputs.push(file("/home/ada/in.csv", b"in"));
        draft.environment.insert("TOKEN".to_owned(), "hush-hush".to_owned());
        change(draft);
    })
}

impl Stage {
    /// A stage with the bytes of these tests.
    async fn stocked() -> Self {
        let stage = Self::new().await;
        stage.upload(b"in").await;
        stage.upload(OUTPUT).await;
        stage
    }

    async fn begun(&self, submission: &Submission) -> AttemptAuth {
        let created = self.store.create_execution(self.account, submission, false, None).await.unwrap();
        self.next_attempt(created.execution.id).await
    }

    /// Runs a submission to its end.
    async fn ended(&self, submission: &Submission, finish: &FinishRow) -> ExecutionId {
        let attempt = self.begun(submission).await;
        self.store.finish(&attempt, finish, [1; 32]).await.unwrap();
        attempt.execution_id
    }

    async fn answer(&self, submission: &Submission) -> Option<ExecutionId> {
        self.answer_for(self.account, submission, None).await
    }

    async fn answer_for(
        &self,
        account: AccountId,
        submission: &Submission,
        stdin: Option<Sha256>,
    ) -> Option<ExecutionId> {
        self.store.reusable(account, submission, stdin).await.unwrap().map(|found| found.id)
    }
}

#[tokio::test]
async fn an_identical_submission_is_answered_and_another_one_is_not() {
    let stage = Stage::stocked().await;
    let same = sent(|_| ());
    assert_eq!(stage.answer(&same).await, None);
    let first = stage.ended(&same, &completed(b"python")).await;
    assert_eq!(stage.answer(&same).await, Some(first));
    // A name, labels and limits make no other script.
    assert_eq!(stage.answer(&sent(|draft| draft.name = Some("again".to_owned()))).await, Some(first));
    let other: [fn(&mut Draft); 5] = [
        |draft| draft.args.push("x".to_owned()),
        |draft| draft.inputs[0] = file("/home/ada/in.csv", b"changed"),
        |draft| draft.inputs.push(file("/home/ada/more.csv", b"in")),
        |draft| draft.environment.insert("TOKEN".to_owned(), "hush-hush2".to_owned()).map_or((), drop),
        |draft| draft.interpreter_state = Some(sha256(b"another pip install")),
    ];
    for change in other {
        assert_eq!(stage.answer(&sent(change)).await, None);
    }
    // What it made lies there now, and travels because the script names it; a change of it is a change.
    let made = |bytes: &'static [u8]| sent(move |draft| draft.inputs.push(file("/home/ada/out.csv", bytes)));
    assert_eq!(stage.answer(&made(OUTPUT)).await, Some(first));
    assert_eq!(stage.answer(&made(b"edited")).await, None);
    // The newest one answers.
    let second = stage.ended(&same, &completed(b"python")).await;
    assert_eq!(stage.answer(&same).await, Some(second));
}

#[tokio::test]
async fn only_what_completed_answers() {
    let stage = Stage::stocked().await;
    let same = sent(|_| ());
    let failed = FinishRow { outcome: Outcome::Exited { code: 3 }, ..completed(b"python") };
    stage.ended(&same, &failed).await;
    assert_eq!(stage.answer(&same).await, None);
    // A runner that does not say what ran it.
    stage.ended(&same, &FinishRow { platform: None, ..completed(b"python") }).await;
    assert_eq!(stage.answer(&same).await, None);
    let attempt = stage.begun(&same).await;
    assert_eq!(stage.answer(&same).await, None, "it still runs");
    stage.store.finish(&attempt, &completed(b"python"), [1; 32]).await.unwrap();
    assert_eq!(stage.answer(&same).await, Some(attempt.execution_id));
}

#[tokio::test]
async fn an_identical_submission_of_another_account_is_not_answered() {
    let stage = Stage::stocked().await;
    let same = sent(|_| ());
    let first = stage.ended(&same, &completed(b"python")).await;
    let other = stage.store.create_account("other").await.unwrap().id;
    assert_eq!(stage.answer_for(other, &same, None).await, None);
    // Not even with the other one's hashes.
    stage.execute(format!("update combined_cache set account_id = '{other}'")).await;
    assert_eq!(stage.answer_for(other, &same, None).await, None);
    stage.execute(format!("update combined_cache set account_id = '{}'", stage.account)).await;
    assert_eq!(stage.answer(&same).await, Some(first));
}

#[tokio::test]
async fn what_another_python_made_answers_nothing() {
    let stage = Stage::stocked().await;
    let same = sent(|_| ());
    let first = stage.ended(&same, &completed(b"python 3.12.1")).await;
    assert_eq!(stage.answer(&same).await, Some(first));
    // Something else ran on what workers have by now.
    let other = sent(|draft| draft.args.push("x".to_owned()));
    let second = stage.ended(&other, &completed(b"python 3.12.2")).await;
    assert_eq!(stage.answer(&same).await, None);
    assert_eq!(stage.answer(&other).await, Some(second));
}

#[tokio::test]
async fn outputs_that_are_gone_are_a_miss() {
    let stage = Stage::stocked().await;
    let same = sent(|_| ());
    let first = stage.ended(&same, &completed(b"python")).await;
    let hash = sha256(OUTPUT);
    stage.execute(format!("delete from blobs where sha256 = '\\x{hash}'")).await;
    assert_eq!(stage.answer(&same).await, None);
    stage.upload(OUTPUT).await;
    assert_eq!(stage.answer(&same).await, Some(first));
    stage.age(40).await;
    let aged = "update executions set finished_at = now() - interval '40 days', followed_until = null";
    stage.execute(aged).await;
    // Who takes its outputs at the end of their time finds them for an hour more.
    assert_eq!(stage.answer(&same).await, Some(first));
    let collected = stage.collect().await;
    assert_eq!((collected.executions, collected.blobs), (0, 0));
    stage.execute(aged).await;
    assert_eq!(stage.collect().await.executions, 1);
    assert_eq!(stage.answer(&same).await, None);
    assert_eq!(stage.count("select count(*) from combined_cache").await, 0);
}

#[tokio::test]
async fn standard_input_decides_and_only_what_was_streamed_to_its_end() {
    let stage = Stage::stocked().await;
    let same = sent(|draft| draft.stdin = true);
    let (one, two) = (sha256(b"1\n"), sha256(b"2\n"));
    let run = async |end: StdinEnd| {
        let attempt = stage.begun(&same).await;
        let id = attempt.execution_id;
        stage.store.write_stdin(stage.account, id, 0, b"1\n", end).await.unwrap();
        stage.store.finish(&attempt, &completed(b"python"), [1; 32]).await.unwrap();
        id
    };
    let answer = async |stdin| stage.answer_for(stage.account, &same, stdin).await;
    run(StdinEnd::Open).await;
    run(StdinEnd::Here(None)).await;
    assert_eq!(answer(Some(one)).await, None);
    let first = run(StdinEnd::Here(Some(one))).await;
    assert_eq!(answer(Some(one)).await, Some(first));
    assert_eq!((answer(Some(two)).await, answer(None).await), (None, None));
    // Without standard input it is another script.
    assert_eq!(stage.answer(&sent(|_| ())).await, None);
}

#[tokio::test]
async fn no_value_of_a_variable_can_be_guessed_from_a_row() {
    let stage = Stage::stocked().await;
    stage.ended(&sent(|_| ()), &completed(b"python")).await;
    let rows: String = sqlx::query_scalar(
        "select (select string_agg(c::text, ' ') from combined_cache c) || (select string_agg(e::text, ' ') from executions e)",
    )
    .fetch_one(&mut stage.sql().await)
    .await
    .unwrap();
    assert!(!rows.contains("hush-hush"), "{rows}");
    // Another grid has another key: who knows all that was sent cannot make the hash.
    let keys = "select encode(key, 'hex') from combined_cache";
    let here: String = sqlx::query_scalar(keys).fetch_one(&mut stage.sql().await).await.unwrap();
    let elsewhere = Stage::stocked().await;
    elsewhere.ended(&sent(|_| ()), &completed(b"python")).await;
    let there: String = sqlx::query_scalar(keys).fetch_one(&mut elsewhere.sql().await).await.unwrap();
    assert_ne!(here, there);
}

#[tokio::test]
async fn many_at_once_find_the_same_and_its_deletion_waits() {
    let stage = Stage::stocked().await;
    let same = sent(|_| ());
    let first = stage.ended(&same, &completed(b"python")).await;
    stage.execute("update executions set finished_at = now() - interval '40 days'").await;
    let (collected, answers) = tokio::join!(
        stage.store.collect_garbage(RETENTION),
        futures_util::future::join_all((0..8).map(|_| stage.answer(&same))),
    );
    // Either all of it is gone, or none.
    let gone = collected.unwrap().executions == 1;
    let status = stage.store.execution(stage.account, first).await.map(|row| row.status).ok();
    assert_eq!(status, (!gone).then_some(Status::Completed));
    for answer in answers {
        assert!(answer == Some(first) && !gone || answer.is_none() && gone, "{answer:?}, gone: {gone}");
    }
}
