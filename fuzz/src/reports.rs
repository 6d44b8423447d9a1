//! What a runner says of itself and of its attempts: what passes the door can be kept, and is whole.

use std::collections::HashSet;

use rgrid_api::executions::Execution;
use rgrid_api::workers::{Lease, LeaseAnswer};
use rgrid_core::limits;
use rgrid_server::fuzzing as door;
use rgrid_store::fuzzing as store;
use rgrid_store::logs::{LogPiece, LogStream};

use crate::input::Input;

/// The attempt that a push is for.
const ATTEMPT: u32 = 1;

/// After its letter the input is a body.
pub fn reports(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() {
        b'f' => finish(input.rest()),
        b'h' => {
            for held in door::heartbeat(input.rest()).into_iter().flatten() {
                assert!(i32::try_from(held.attempt).is_ok() && i64::try_from(held.directive).is_ok());
            }
        }
        b'j' => {
            if let Some(join) = door::join(input.rest()) {
                let texts = [join.token, join.nonce, join.version, join.hostname];
                assert!(texts.iter().all(|text| !text.is_empty() && !text.contains('\0')));
                assert!(i64::try_from(join.capacity.memory_bytes).is_ok() && join.slots > 0);
            }
        }
        b'l' => {
            if let Some(pieces) = door::logs(input.rest(), ATTEMPT) {
                pushed(&pieces);
            }
        }
        // What the grid answers is outside bytes to a runner, and to a client.
        b'a' => reads_back::<LeaseAnswer>(input.rest()),
        b'e' => reads_back::<Execution>(input.rest()),
        _ => reads_back::<Lease>(input.rest()),
    }
}

fn reads_back<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<T>(&written).expect("and read again"), read);
}

fn finish(bytes: &[u8]) {
    let Some(row) = door::finish(bytes) else { return };
    assert_eq!(store::stored(&row.outcome).expect("an outcome reads back from its row"), row.outcome);
    let size = row.outputs.iter().fold(0u64, |sum, output| sum.saturating_add(output.size_bytes));
    assert!(size <= limits::OUTPUT_BYTES_MAX && row.outputs.len() <= limits::OUTPUT_FILES_MAX);
    let paths: HashSet<&str> = row.outputs.iter().map(|output| output.path.as_str()).collect();
    assert_eq!(paths.len(), row.outputs.len());
    let numbers = [Some(row.stdout_bytes), Some(row.stderr_bytes), row.peak_memory_bytes, row.cpu_ms];
    assert!(numbers.into_iter().flatten().all(|number| i64::try_from(number).is_ok()));
    assert!(row.not_brought_back.iter().all(|path| !path.contains('\0')));
}

/// What is taken of a push leaves no hole and no overlap, and a repetition adds nothing.
fn pushed(pieces: &[LogPiece]) {
    let Ok(taken) = store::accepted(pieces) else { return };
    for stream in LogStream::ALL {
        let mut next = 0;
        for piece in taken.iter().filter(|piece| piece.stream == stream) {
            assert_eq!(piece.offset, next);
            assert!(piece.bytes.is_empty() != (piece.gap_bytes == 0), "it is bytes or a gap");
            next = piece.end();
        }
        assert!(i64::try_from(next).is_ok());
        let last = pieces.iter().filter(|piece| piece.stream == stream).map(LogPiece::end).max();
        assert_eq!(next, last.unwrap_or(0));
    }
    let twice: Vec<LogPiece> = taken.iter().chain(pieces).cloned().collect();
    if let Ok(again) = store::accepted(&twice) {
        assert_eq!(again, taken);
    }
}
