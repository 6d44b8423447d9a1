//! What a job writes: secrets are masked however the stream is cut, and a log above its limit keeps its ends.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rgrid_api::logs::Stream;
use rgrid_core::secret::MASKED_BYTES_MIN;
use tempfile::TempDir;

use crate::input::{Input, parts};

/// Secrets of one execution: more say nothing new.
const SECRETS_MAX: usize = 8;

/// Three bytes say where the stream is cut; a letter says what the rest is.
pub fn output(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cuts = [input.byte(), input.byte(), input.byte()];
    match input.byte() {
        b'l' => limited(input, &cuts),
        _ => masked(input, &cuts),
    }
}

/// Lines of secrets up to an empty one, then the stream.
fn masked(mut input: Input<'_>, cuts: &[u8]) {
    let mut environment = BTreeMap::new();
    while environment.len() < SECRETS_MAX {
        let secret = input.text_line();
        if secret.is_empty() {
            break;
        }
        environment.insert(format!("TOKEN_{}", environment.len()), secret.into_owned());
    }
    let stream = input.rest();
    let whole = rgrid_runner::fuzzing::masked(&environment, &[stream]);
    assert_eq!(rgrid_runner::fuzzing::masked(&environment, &parts(stream, cuts)), whole);
    let secrets = environment.values().filter(|secret| secret.len() >= MASKED_BYTES_MIN);
    // Stars may meet and look like a secret of stars.
    for secret in secrets.clone().filter(|secret| !secret.contains('*')) {
        let found = whole.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{secret:?} is in {:?}", String::from_utf8_lossy(&whole));
    }
    assert!(secrets.count() > 0 || whole == stream);
}

static SPOOL: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("there is a folder for temporary files"));

/// A byte is the limit; the parts of the rest go to the two streams in turn.
fn limited(mut input: Input<'_>, cuts: &[u8]) {
    let bytes_max = u64::from(input.byte());
    let of = |index: usize| if index.is_multiple_of(2) { Stream::Stdout } else { Stream::Stderr };
    let pieces = parts(input.rest(), cuts).into_iter().enumerate();
    let written: Vec<(Stream, &[u8])> = pieces.map(|(index, piece)| (of(index), piece)).collect();
    let chunks = rgrid_runner::fuzzing::limited(bytes_max, SPOOL.path(), &written);

    let kept: u64 = chunks.iter().map(|chunk| chunk.bytes.0.len() as u64).sum();
    let all = input.rest().len() as u64;
    assert_eq!(kept, all.min(2 * (bytes_max / 2)), "it is full before anything is missing");
    for stream in [Stream::Stdout, Stream::Stderr] {
        let pieces = written.iter().filter(|(to, _)| *to == stream);
        let whole: Vec<u8> = pieces.flat_map(|(_, piece)| piece.to_vec()).collect();
        let mut next = 0;
        let mut gaps = 0;
        for chunk in chunks.iter().filter(|chunk| chunk.stream == stream) {
            assert_eq!(chunk.offset, next as u64, "without hole and overlap");
            let bytes = &chunk.bytes.0;
            assert_eq!(Some(bytes.as_slice()), whole.get(next..next + bytes.len()));
            assert!(bytes.is_empty() != (chunk.gap_bytes == 0), "it is bytes or a gap");
            next += bytes.len() + usize::try_from(chunk.gap_bytes).expect("it was in memory");
            gaps += u32::from(chunk.gap_bytes > 0);
        }
        assert_eq!(next, whole.len());
        assert!(gaps <= 1);
    }
}
