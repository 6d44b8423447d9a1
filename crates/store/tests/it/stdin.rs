//! Stdin: every byte once and in order, bounded on its way, read again by a later attempt, gone at the end.

use rgrid_core::limits::STDIN_BYTES_MAX;
use rgrid_core::outcome::Outcome;
use rgrid_store::Error;
use rgrid_store::attempts::AttemptAuth;
use rgrid_store::stdin::{StdinWritten, UNREAD_BYTES_MAX};

use crate::crew::finish;
use crate::stage::{Stage, content};

const MIB: usize = 1 << 20;

impl Stage {
    async fn write(&self, a: &AttemptAuth, offset: u64, bytes: &[u8], eof: bool) -> StdinWritten {
        self.store.write_stdin(self.account, a.execution_id, offset, bytes, eof).await.unwrap()
    }

    async fn read_stdin(&self, a: &AttemptAuth, offset: u64, max_bytes: usize) -> (Vec<u8>, bool) {
        let read = self.store.read_stdin(a, offset, max_bytes).await.unwrap();
        assert!(read.bytes.len() <= max_bytes);
        (read.bytes, read.eof)
    }
}

fn wanted(next: u64) -> StdinWritten {
    StdinWritten { next, wanted: true }
}

#[tokio::test]
async fn what_is_written_is_read_in_order_and_once() {
    let stage = Stage::new().await;
    let a = stage.running(true).await;
    assert_eq!(stage.read_stdin(&a, 0, 100).await, (vec![], false), "nothing has come");
    assert_eq!(stage.write(&a, 0, b"hello ", false).await, wanted(6));
    assert_eq!(stage.write(&a, 0, b"hello ", false).await, wanted(6), "sent again");
    assert_eq!(stage.write(&a, 3, b"lo world", true).await, wanted(11));
    assert_eq!(stage.write(&a, 3, b"lo world", true).await, wanted(11));
    assert_eq!(stage.read_stdin(&a, 0, 4).await, (b"hell".to_vec(), false));
    assert_eq!(stage.read_stdin(&a, 4, 100).await, (b"o world".to_vec(), true));
    assert_eq!(stage.read_stdin(&a, 11, 100).await, (vec![], true));
}

#[tokio::test]
async fn holes_bytes_after_the_end_and_readers_ahead_are_refused() {
    let stage = Stage::new().await;
    let a = stage.running(true).await;
    let write = |offset, bytes: &'static [u8], eof| {
        stage.store.write_stdin(stage.account, a.execution_id, offset, bytes, eof)
    };
    assert!(matches!(write(1, b"x", false).await, Err(Error::Invalid { field: "offset", .. })));
    write(0, b"abc", true).await.unwrap();
    assert!(matches!(write(3, b"d", false).await, Err(Error::Invalid { field: "offset", .. })));
    assert!(matches!(write(1 << 30, b"d", false).await, Err(Error::Invalid { .. })));
    assert!(matches!(stage.store.read_stdin(&a, 4, 10).await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn more_than_the_limit_is_refused_by_name() {
    let stage = Stage::new().await;
    let a = stage.running(true).await;
    stage.write(&a, 0, b"x", false).await;
    stage.execute(format!("update stdin_streams set received_bytes = {STDIN_BYTES_MAX}")).await;
    let beyond = stage.store.write_stdin(stage.account, a.execution_id, STDIN_BYTES_MAX, b"y", false).await;
    assert!(matches!(beyond, Err(Error::TooLarge { what: "stdin", limit: STDIN_BYTES_MAX })), "{beyond:?}");
}

#[tokio::test]
async fn an_empty_stdin_ends_at_once() {
    let stage = Stage::new().await;
    let a = stage.running(true).await;
    assert_eq!(stage.write(&a, 0, b"", true).await, wanted(0));
    assert_eq!(stage.read_stdin(&a, 0, 100).await, (vec![], true));
}

#[tokio::test]
async fn an_execution_without_stdin_takes_none_and_reads_an_end() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    let refused = stage.store.write_stdin(stage.account, a.execution_id, 0, b"x", false).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "stdin", .. })));
    assert_eq!(stage.read_stdin(&a, 0, 100).await, (vec![], true));
    let other = stage.store.create_account("other").await.unwrap().id;
    let theirs = stage.running(true).await;
    let refused = stage.store.write_stdin(other, theirs.execution_id, 0, b"x", false).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn the_writer_waits_for_its_reader() {
    let stage = Stage::new().await;
    let a = stage.running(true).await;
    let bytes = content(1, 10 * MIB);
    assert_eq!(stage.write(&a, 0, &bytes, true).await, wanted(UNREAD_BYTES_MAX));
    assert_eq!(stage.write(&a, UNREAD_BYTES_MAX, &bytes[8 * MIB..], true).await, wanted(UNREAD_BYTES_MAX));
    // A read of what follows the first MiB says that the first MiB was read.
    assert!(stage.read_stdin(&a, MIB as u64, MIB).await == (bytes[MIB..2 * MIB].to_vec(), false));
    assert_eq!(stage.write(&a, UNREAD_BYTES_MAX, &bytes[8 * MIB..], true).await, wanted(9 * MIB as u64));
}

/// Writes and reads all of `bytes`; answers what was read.
async fn through(stage: &Stage, a: &AttemptAuth, bytes: &[u8]) -> Vec<u8> {
    let (mut sent, mut read) = (0, Vec::new());
    loop {
        let end = (sent + MIB).min(bytes.len());
        sent = stage.write(a, sent as u64, &bytes[sent..end], end == bytes.len()).await.next as usize;
        let (piece, eof) = stage.read_stdin(a, read.len() as u64, 700_000).await;
        read.extend(piece);
        if eof {
            return read;
        }
    }
}

#[tokio::test]
async fn a_later_attempt_reads_all_of_it_again() {
    let stage = Stage::new().await;
    let first = stage.running(true).await;
    let bytes = content(1, 20 * MIB + 5);
    assert!(through(&stage, &first, &bytes).await == bytes);
    let in_rows = stage.count("select sum(octet_length(bytes))::bigint from stdin_chunks").await;
    assert!(in_rows < 13 * MIB as i64, "what was read moves to objects: {in_rows}");
    assert_eq!(in_rows, stage.count("select tail_bytes from stdin_streams").await);

    let second = stage.next_attempt(first.execution_id).await;
    assert!(matches!(stage.store.read_stdin(&first, 0, 10).await, Err(Error::NotCurrent)));
    let mut read = Vec::new();
    loop {
        let (piece, eof) = stage.read_stdin(&second, read.len() as u64, 1_234_567).await;
        assert!(!piece.is_empty());
        read.extend(piece);
        if eof {
            break;
        }
    }
    assert!(read == bytes);
}

#[tokio::test]
async fn a_finish_takes_its_stdin_with_it() {
    let stage = Stage::new().await;
    let a = stage.running(true).await;
    stage.write(&a, 0, b"unread", true).await;
    stage.store.finish(&a, &finish(Outcome::Exited { code: 0 }), [1; 32]).await.unwrap();
    assert_eq!(stage.count("select count(*) from stdin_streams").await, 0);
    assert!(!stage.write(&a, 0, b"unread", true).await.wanted);
}

#[tokio::test]
async fn nothing_is_wanted_after_the_end_and_nothing_stays() {
    let stage = Stage::new().await;
    let a = stage.running(true).await;
    let bytes = content(1, 9 * MIB);
    through(&stage, &a, &bytes).await;
    assert!(stage.count("select count(*) from stdin_ranges").await > 0);
    stage.end_execution(a.execution_id, 0).await;
    let after = stage.write(&a, 9 * MIB as u64, b"more", false).await;
    assert!(!after.wanted);
    stage.store.collect_garbage(std::time::Duration::from_secs(3600)).await.unwrap();
    let left = "select (select count(*) from stdin_streams) + (select count(*) from stdin_chunks)
        + (select count(*) from stdin_ranges)";
    assert_eq!(stage.count(left).await, 0);
    assert!(stage.count("select count(*) from discarded_objects").await > 0, "its objects are on the list");
}
