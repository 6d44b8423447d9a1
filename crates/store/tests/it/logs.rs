//! Logs: what is read is what was written, in order, whatever is pushed twice, moved meanwhile, or lost.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rgrid_core::Timestamp;
use rgrid_core::execution::Status;
use rgrid_core::id::ExecutionId;
use rgrid_core::limits::{LOG_PUSH_BYTES, LOG_TAIL_BYTES};
use rgrid_core::outcome::Outcome;
use rgrid_store::Error;
use rgrid_store::attempts::{AttemptAuth, FinishRow};
use rgrid_store::logs::{LogChunk, LogCursor, LogPage, LogPiece, LogSizes, LogStream};

use crate::crew::finish;
use crate::stage::{Stage, worker};

fn at(second: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn piece(stream: LogStream, offset: u64, bytes: &[u8]) -> LogPiece {
    LogPiece { stream, offset, bytes: bytes.to_vec(), gap_bytes: 0, at: at(0) }
}

fn out(offset: u64, bytes: &[u8]) -> LogPiece {
    piece(LogStream::Stdout, offset, bytes)
}

fn err(offset: u64, bytes: &[u8]) -> LogPiece {
    piece(LogStream::Stderr, offset, bytes)
}

/// Bytes that differ at every place.
fn content(stream: LogStream, length: usize) -> Vec<u8> {
    let salt = match stream {
        LogStream::Stdout => 0,
        LogStream::Stderr => 128,
    };
    (0..length).map(|at| ((at * 2_654_435_761) >> 11) as u8 ^ salt).collect()
}

impl Stage {
    async fn push(&self, a: &AttemptAuth, pieces: &[LogPiece]) -> LogSizes {
        self.store.append_logs(a, pieces).await.unwrap().sizes
    }

    async fn read(&self, execution: ExecutionId, cursor: LogCursor, max_bytes: usize) -> LogPage {
        self.store.read_logs(self.account, execution, cursor, max_bytes).await.unwrap()
    }

    /// Everything from `cursor` on, by pages of `max_bytes`.
    async fn read_all(
        &self,
        execution: ExecutionId,
        mut cursor: LogCursor,
        max_bytes: usize,
    ) -> Vec<LogChunk> {
        let mut all = Vec::new();
        loop {
            let page = self.read(execution, cursor, max_bytes).await;
            assert!(page.chunks.iter().map(|chunk| chunk.piece.bytes.len()).sum::<usize>() <= max_bytes);
            if page.chunks.is_empty() && page.next == cursor {
                return all;
            }
            all.extend(page.chunks);
            cursor = page.next;
        }
    }
}

/// The bytes of one stream; every chunk must start where the one before ended.
fn joined(chunks: &[LogChunk], stream: LogStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in chunks.iter().filter(|chunk| chunk.piece.stream == stream) {
        assert_eq!(chunk.piece.offset, bytes.len() as u64);
        assert_eq!(chunk.piece.gap_bytes, 0);
        bytes.extend_from_slice(&chunk.piece.bytes);
    }
    bytes
}

fn text(chunks: &[LogChunk]) -> String {
    chunks.iter().map(|chunk| String::from_utf8_lossy(&chunk.piece.bytes).into_owned()).collect()
}

#[tokio::test]
async fn both_streams_read_back_in_the_order_in_which_they_were_written() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    let sizes = stage.push(&a, &[out(0, b"one\n"), err(0, b"two\n"), out(4, b"three\n")]).await;
    assert_eq!(sizes, LogSizes { stdout: 10, stderr: 4 });
    stage.push(&a, &[err(4, b"four\n")]).await;
    for max_bytes in [1, 3, 7, 1000] {
        let chunks = stage.read_all(a.execution_id, LogCursor::start_of(1), max_bytes).await;
        assert_eq!(text(&chunks), "one\ntwo\nthree\nfour\n", "pages of {max_bytes}");
    }
    let from = LogCursor { attempt: 1, stdout: 6, stderr: 4 };
    assert_eq!(text(&stage.read_all(a.execution_id, from, 1000).await), "ree\nfour\n");
}

#[tokio::test]
async fn a_repeated_push_changes_nothing_and_a_hole_is_refused() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    stage.push(&a, &[out(0, b"hello ")]).await;
    stage.push(&a, &[out(0, b"hello ")]).await;
    stage.push(&a, &[out(3, b"lo world"), err(0, b"!")]).await;
    let hole = stage.store.append_logs(&a, &[err(1, b"?"), out(12, b"x")]).await;
    assert!(matches!(hole, Err(Error::Invalid { field: "offset", .. })), "{hole:?}");
    let page = stage.read(a.execution_id, LogCursor::start_of(1), 1000).await;
    assert_eq!(text(&page.chunks), "hello world!");
    assert_eq!(page.next, LogCursor { attempt: 1, stdout: 11, stderr: 1 });
}

#[tokio::test]
async fn a_stale_attempt_appends_nothing() {
    let stage = Stage::new().await;
    let first = stage.running(false).await;
    stage.push(&first, &[out(0, b"a")]).await;
    let second = stage.next_attempt(first.execution_id).await;
    let wrong_token = AttemptAuth { token: "guess".to_owned(), ..second.clone() };
    let wrong_worker = AttemptAuth { worker_id: worker(9), ..second.clone() };
    for stale in [first, wrong_token, wrong_worker] {
        let refused = stage.store.append_logs(&stale, &[out(0, b"ab")]).await;
        assert!(matches!(refused, Err(Error::NotCurrent)), "{refused:?}");
    }
    assert_eq!(stage.count("select count(*) from log_chunks").await, 1);
}

#[tokio::test]
async fn a_gap_is_told_and_passed_over() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    let gap =
        LogPiece { stream: LogStream::Stdout, offset: 5, bytes: Vec::new(), gap_bytes: 1000, at: at(1) };
    stage.push(&a, &[out(0, b"start"), gap.clone(), out(1005, b"end")]).await;
    stage.push(&a, std::slice::from_ref(&gap)).await;
    let page = stage.read(a.execution_id, LogCursor::start_of(1), 1_000_000).await;
    let pieces: Vec<LogPiece> = page.chunks.into_iter().map(|chunk| chunk.piece).collect();
    assert_eq!(pieces, [out(0, b"start"), gap, out(1005, b"end")]);
    let inside = LogCursor { attempt: 1, stdout: 500, stderr: 0 };
    let page = stage.read(a.execution_id, inside, 1_000_000).await;
    assert_eq!((page.chunks[0].piece.offset, page.chunks[0].piece.gap_bytes), (500, 505));
}

#[tokio::test]
async fn a_reader_goes_through_all_attempts_and_learns_when_nothing_follows() {
    let stage = Stage::new().await;
    let execution = stage.submit(&[], false).await;
    let before = stage.read(execution, LogCursor::default(), 1000).await;
    assert_eq!((before.chunks.len(), before.complete), (0, false));
    let first = stage.next_attempt(execution).await;
    stage.push(&first, &[out(0, b"lost ")]).await;
    let page = stage.read(execution, before.next, 1000).await;
    assert_eq!((text(&page.chunks).as_str(), page.complete), ("lost ", false));
    // An attempt that wrote nothing lies between.
    stage.next_attempt(execution).await;
    let third = stage.next_attempt(execution).await;
    stage.push(&third, &[err(0, b"again")]).await;
    let page = stage.read(execution, page.next, 1000).await;
    assert_eq!((text(&page.chunks).as_str(), page.complete), ("again", false));
    assert_eq!(page.chunks[0].attempt, 3);
    assert_eq!(stage.store.log_start_cursor(stage.account, execution).await.unwrap(), LogCursor::start_of(3));
    stage.end_execution(execution, 0).await;
    let page = stage.read(execution, page.next, 1000).await;
    assert_eq!((page.chunks.len(), page.complete), (0, true));
    let beyond = stage.store.read_logs(stage.account, execution, LogCursor::start_of(4), 1000).await;
    assert!(matches!(beyond, Err(Error::Invalid { field: "cursor", .. })));
}

#[tokio::test]
async fn another_account_reads_no_log() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    stage.push(&a, &[out(0, b"secret")]).await;
    let other = stage.store.create_account("other").await.unwrap().id;
    let refused = stage.store.read_logs(other, a.execution_id, LogCursor::start_of(1), 1000).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })));
    assert!(stage.store.log_tail_cursor(other, a.execution_id, 1).await.is_err());
}

#[tokio::test]
async fn pushes_beyond_a_limit_are_refused_by_name() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    let large = stage.store.append_logs(&a, &[out(0, &vec![b'x'; LOG_PUSH_BYTES + 1])]).await;
    assert!(matches!(large, Err(Error::TooLarge { .. })), "{large:?}");
    let both = LogPiece { gap_bytes: 1, ..out(0, b"x") };
    assert!(matches!(stage.store.append_logs(&a, &[both]).await, Err(Error::Invalid { .. })));
    let endless = LogPiece { gap_bytes: u64::MAX, ..out(0, b"") };
    assert!(matches!(stage.store.append_logs(&a, &[endless]).await, Err(Error::Invalid { .. })));
}

/// Pushes `length` bytes of each stream, as a runner does.
async fn push_much(stage: &Stage, a: &AttemptAuth, length: usize) {
    let (stdout, stderr) = (content(LogStream::Stdout, length), content(LogStream::Stderr, length));
    let step = LOG_PUSH_BYTES / 4;
    for start in (0..length).step_by(step) {
        let end = (start + step).min(length);
        let pieces = [out(start as u64, &stdout[start..end]), err(start as u64, &stderr[start..end])];
        stage.push(a, &pieces).await;
    }
}

#[tokio::test]
async fn the_database_holds_a_bounded_tail_and_readers_get_everything() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    let length = 2_500_000;
    push_much(&stage, &a, length).await;
    let in_rows = stage.count("select sum(octet_length(bytes))::bigint from log_chunks").await;
    assert!(in_rows as u64 <= LOG_TAIL_BYTES, "{in_rows}");
    assert_eq!(stage.count("select tail_bytes from attempt_logs").await, in_rows);
    assert!(stage.count("select count(*) from log_ranges").await >= 4);
    assert_eq!(stage.count("select count(*) from discarded_objects").await, 0);
    for max_bytes in [100_000, 1 << 20] {
        let chunks = stage.read_all(a.execution_id, LogCursor::start_of(1), max_bytes).await;
        for stream in LogStream::ALL {
            assert!(joined(&chunks, stream) == content(stream, length), "{stream}");
        }
    }
}

#[tokio::test]
async fn a_reader_loses_nothing_while_ranges_move() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    let length = 3_000_000;
    let reader = async {
        let mut all: Vec<LogChunk> = Vec::new();
        let mut cursor = LogCursor::start_of(1);
        while cursor.stdout < length as u64 || cursor.stderr < length as u64 {
            let page = stage.read(a.execution_id, cursor, 200_000).await;
            cursor = page.next;
            all.extend(page.chunks);
        }
        all
    };
    let ((), chunks) = tokio::join!(push_much(&stage, &a, length), reader);
    for stream in LogStream::ALL {
        assert!(joined(&chunks, stream) == content(stream, length), "{stream}");
    }
}

#[tokio::test]
async fn many_small_chunks_move_too() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    let mut offset = 0;
    for _ in 0..3 {
        let pieces: Vec<LogPiece> = (0..12_000).map(|at| out(offset + at, b"x")).collect();
        stage.push(&a, &pieces).await;
        offset += 12_000;
    }
    assert!(stage.count("select count(*) from log_chunks").await <= 24_576);
    let chunks = stage.read_all(a.execution_id, LogCursor::start_of(1), 1 << 20).await;
    assert_eq!(joined(&chunks, LogStream::Stdout), vec![b'x'; 36_000]);
}

#[tokio::test]
async fn a_lost_range_is_a_gap_and_the_rest_can_be_read() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    let length = 1_200_000;
    push_much(&stage, &a, length).await;
    let objects = stage.database.folder().join("objects/objects");
    for shard in std::fs::read_dir(objects).unwrap() {
        for file in std::fs::read_dir(shard.unwrap().path()).unwrap() {
            std::fs::write(file.unwrap().path(), b"not a log").unwrap();
        }
    }
    let chunks = stage.read_all(a.execution_id, LogCursor::start_of(1), 1 << 20).await;
    for stream in LogStream::ALL {
        let expected = content(stream, length);
        let mut next = 0;
        for chunk in chunks.iter().filter(|chunk| chunk.piece.stream == stream) {
            assert_eq!(chunk.piece.offset, next);
            next = chunk.piece.end();
            let bytes = &chunk.piece.bytes;
            assert!(bytes.is_empty() || *bytes == expected[chunk.piece.offset as usize..next as usize]);
        }
        assert_eq!(next, length as u64);
        assert!(chunks.iter().any(|chunk| chunk.piece.gap_bytes > 0));
    }
}

#[tokio::test]
async fn a_tail_starts_at_whole_lines() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    let tail = async |lines| {
        let cursor = stage.store.log_tail_cursor(stage.account, a.execution_id, lines).await.unwrap();
        text(&stage.read_all(a.execution_id, cursor, 1000).await)
    };
    assert_eq!(tail(3).await, "");
    stage.push(&a, &[out(0, b"1\n2\n"), err(0, b"e1\n"), out(4, b"3\n4\n")]).await;
    assert_eq!(tail(0).await, "");
    assert_eq!(tail(1).await, "4\n");
    assert_eq!(tail(2).await, "3\n4\n");
    assert_eq!(tail(3).await, "e1\n3\n4\n");
    assert_eq!(tail(4).await, "2\ne1\n3\n4\n");
    assert_eq!(tail(99).await, "1\n2\ne1\n3\n4\n");
    stage.push(&a, &[out(8, b"no newline")]).await;
    assert_eq!(tail(1).await, "no newline");
    assert_eq!(tail(2).await, "4\nno newline");
}

#[tokio::test]
async fn a_tail_reaches_into_moved_ranges() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    let line = |number: usize| format!("{number:099}\n");
    let lines: String = (0..30_000).map(line).collect();
    for start in (0..lines.len()).step_by(LOG_PUSH_BYTES) {
        let end = (start + LOG_PUSH_BYTES).min(lines.len());
        stage.push(&a, &[out(start as u64, &lines.as_bytes()[start..end])]).await;
    }
    assert!(stage.count("select count(*) from log_ranges").await > 1);
    for wanted in [5, 9_000, 29_999, 30_000, 40_000] {
        let cursor = stage.store.log_tail_cursor(stage.account, a.execution_id, wanted).await.unwrap();
        assert_eq!(cursor.stdout, 100 * 30_000_u64.saturating_sub(u64::from(wanted)), "{wanted}");
    }
}

#[tokio::test]
async fn a_finish_waits_for_every_byte_and_nothing_is_appended_after_it() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    stage.push(&a, &[out(0, b"all but")]).await;
    let finish = FinishRow { stdout_bytes: 11, ..finish(Outcome::Exited { code: 0 }) };
    let early = stage.store.finish(&a, &finish, [1; 32]).await;
    assert!(matches!(early, Err(Error::Invalid { field: "stdout_bytes", .. })), "{early:?}");
    stage.push(&a, &[out(7, b" one")]).await;
    assert_eq!(stage.store.finish(&a, &finish, [1; 32]).await.unwrap(), Status::Completed);
    let late = stage.store.append_logs(&a, &[out(11, b"!")]).await;
    assert!(matches!(late, Err(Error::NotCurrent)), "{late:?}");
    let page = stage.read(a.execution_id, LogCursor::start_of(1), 1000).await;
    assert_eq!((text(&page.chunks).as_str(), page.complete), ("all but one", true));
}

#[tokio::test]
async fn progress_of_many_attempts_is_one_question() {
    let stage = Stage::new().await;
    let (a, b, silent) = (stage.running(false).await, stage.running(false).await, stage.running(false).await);
    stage.push(&a, &[out(0, b"12345")]).await;
    stage.push(&b, &[err(0, b"123")]).await;
    let asked = [&a, &b, &silent].map(|auth| (auth.execution_id, auth.attempt));
    let progress = stage.store.log_progress(&asked).await.unwrap();
    assert_eq!(progress.len(), 2);
    assert_eq!(progress[&asked[0]], LogSizes { stdout: 5, stderr: 0 });
    assert_eq!(progress[&asked[1]], LogSizes { stdout: 0, stderr: 3 });
}

/// A push of a run of either stream: from at most what is known, and any length.
fn pushes() -> impl Strategy<Value = Vec<(bool, prop::sample::Index, usize)>> {
    prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), 1..40_usize), 1..40)
}

#[test]
fn any_overlapping_pushes_read_back_the_exact_bytes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let stage = runtime.block_on(Stage::new());
    let mut runner = TestRunner::new(Config { cases: 30, failure_persistence: None, ..Config::default() });
    let property = |pushes: Vec<(bool, prop::sample::Index, usize)>| {
        runtime.block_on(async {
            let a = stage.running(false).await;
            let contents = LogStream::ALL.map(|stream| content(stream, 2000));
            let mut known = [0_usize; 2];
            for (is_stderr, start, length) in pushes {
                let which = usize::from(is_stderr);
                let start = start.index(known[which] + 1);
                let end = start + length;
                let pushed = piece(LogStream::ALL[which], start as u64, &contents[which][start..end]);
                known[which] = known[which].max(end);
                let sizes = stage.push(&a, &[pushed]).await;
                prop_assert_eq!([sizes.stdout as usize, sizes.stderr as usize], known);
            }
            let chunks = stage.read_all(a.execution_id, LogCursor::start_of(1), 64).await;
            for (which, stream) in LogStream::ALL.into_iter().enumerate() {
                prop_assert_eq!(&joined(&chunks, stream), &contents[which][..known[which]]);
            }
            Ok::<(), TestCaseError>(())
        })
    };
    runner.run(&pushes(), property).unwrap();
}

#[tokio::test]
async fn pushes_of_the_same_bytes_at_once_are_kept_once() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    let bytes = content(LogStream::Stdout, 1000);
    let pusher = || async {
        for start in (0..1000).step_by(10) {
            let end = (start + 30).min(1000);
            stage.push(&a, &[out(start as u64, &bytes[start..end])]).await;
        }
    };
    tokio::join!(pusher(), pusher(), pusher());
    let chunks = stage.read_all(a.execution_id, LogCursor::start_of(1), 1 << 20).await;
    assert_eq!(joined(&chunks, LogStream::Stdout), bytes);
}
