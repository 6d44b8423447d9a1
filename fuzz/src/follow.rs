//! A follow, as its reader sees it: the event stream however it is cut, and what a terminal makes of the chunks.

use rgrid_api::events::{FollowEvent, SseEvent, SseReader};
use rgrid_api::logs::{Cursor, LogChunk, Stream};
use rgrid_cli::fuzzing::Followed;

use crate::input::{Input, parts};

/// Three bytes say where the stream is cut; a line is the cursor that it resumes from; the rest is the stream.
pub fn follow(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cuts = [input.byte(), input.byte(), input.byte()];
    let from: Cursor = input.text_line().parse().unwrap_or_default();
    let stream = input.rest();

    let mut reader = SseReader::default();
    let whole = reader.push(stream);
    let mut reader = SseReader::default();
    let cut: Result<Vec<Vec<SseEvent>>, _> =
        parts(stream, &cuts).into_iter().map(|part| reader.push(part)).collect();
    assert_eq!(cut.map(|events| events.concat()), whole, "however it is cut");

    let events = whole.unwrap_or_default();
    let chunks = events.iter().filter_map(|event| match serde_json::from_str(&event.data) {
        Ok(FollowEvent::Log { chunk }) => Some(chunk),
        Ok(FollowEvent::Status { .. } | FollowEvent::End { .. }) | Err(_) => None,
    });
    let chunks: Vec<LogChunk> = chunks.collect();
    terminal(from, &chunks);
    resumed(from, &chunks);
}

/// The cursor never goes back, and a chunk that comes again adds nothing.
fn terminal(from: Cursor, chunks: &[LogChunk]) {
    let mut followed = Followed::from(from);
    for chunk in chunks {
        let before = followed.cursor();
        let (added, _) = followed.take(chunk);
        let sum: usize = added.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(sum <= chunk.bytes.0.len());
        let after = followed.cursor();
        let forward = after.stdout >= before.stdout && after.stderr >= before.stderr;
        assert!(after.attempt > before.attempt || (after.attempt == before.attempt && forward));
        assert_eq!(after.to_string().parse(), Ok(after));
        assert_eq!(followed.take(chunk), (Vec::new(), 0));
        assert_eq!(followed.cursor(), after);
    }
    followed.end();
}

/// Of one attempt without gaps a reader that was cut anywhere and resumed shows what one that was not cut shows.
fn resumed(from: Cursor, chunks: &[LogChunk]) {
    let Some(first) = chunks.first() else { return };
    if from != Cursor::default() || chunks.iter().any(|c| c.attempt != first.attempt || c.gap_bytes > 0) {
        return;
    }
    let show = |followed: &mut Followed, chunks: &[LogChunk]| -> Vec<(Stream, Vec<u8>)> {
        chunks.iter().flat_map(|chunk| followed.take(chunk).0).collect()
    };
    let whole = show(&mut Followed::from(from), chunks);
    let (before, after) = chunks.split_at(chunks.len() / 2);
    let mut followed = Followed::from(from);
    let mut pieces = show(&mut followed, before);
    pieces.extend(show(&mut Followed::from(followed.cursor()), after));
    for stream in [Stream::Stdout, Stream::Stderr] {
        let text = |pieces: &[(Stream, Vec<u8>)]| -> Vec<u8> {
            pieces.iter().filter(|(of, _)| *of == stream).flat_map(|(_, bytes)| bytes.clone()).collect()
        };
        assert_eq!(text(&pieces), text(&whole));
    }
}
