//! Gives every log byte its offset, and keeps a log within its limit: the first half passes at once, the rest is
//! held back on disk so that in the end the last half of what there was can follow a gap.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rgrid_api::bytes64::Bytes64;
use rgrid_api::logs::{LogChunk, Stream};

/// A segment of the held back part: the oldest is dropped as a whole when the newer ones suffice.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Runs of bytes in one segment, so that single bytes on alternating streams do not fill the memory.
const SEGMENT_RUNS_MAX: usize = 8192;
/// Segments that are kept, for the same reason.
const SEGMENTS_MAX: usize = 64;
/// A chunk that is read back from disk holds at most this.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

struct Run {
    stream: Stream,
    offset: u64,
    length: usize,
    at: DateTime<Utc>,
}

struct Segment {
    file: File,
    runs: Vec<Run>,
    bytes: u64,
}

/// The limit of one attempt's log.
pub(crate) struct LogLimit {
    attempt: u32,
    half_bytes: u64,
    spool_folder: PathBuf,
    head_bytes: u64,
    written: [u64; 2],
    head_ends: [u64; 2],
    segments: VecDeque<Segment>,
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

impl LogLimit {
    /// A log of `attempt` with at most `bytes_max` bytes; what must wait is held in `spool_folder`.
    pub(crate) fn new(attempt: u32, bytes_max: u64, spool_folder: &Path) -> Self {
        Self {
            attempt,
            half_bytes: bytes_max / 2,
            spool_folder: spool_folder.to_owned(),
            head_bytes: 0,
            written: [0; 2],
            head_ends: [0; 2],
            segments: VecDeque::new(),
        }
    }

    /// Bytes that the attempt wrote on `stream`.
    pub(crate) fn written(&self, stream: Stream) -> u64 {
        self.written[index(stream)]
    }

    fn chunk(&self, stream: Stream, offset: u64, bytes: Vec<u8>, at: DateTime<Utc>) -> LogChunk {
        LogChunk { attempt: self.attempt, stream, offset, bytes: Bytes64(bytes), gap_bytes: 0, at }
    }

    /// Takes bytes as they were read. What passes at once is answered; the rest is held back.
    pub(crate) fn accept(&mut self, stream: Stream, bytes: &[u8], at: DateTime<Utc>) -> Option<LogChunk> {
        let i = index(stream);
        let passing = bytes.len().min((self.half_bytes - self.head_bytes) as usize);
        let (now, later) = bytes.split_at(passing);
        let offset = self.written[i];
        self.written[i] += bytes.len() as u64;
        self.head_bytes += passing as u64;
        if passing > 0 {
            self.head_ends[i] = offset + passing as u64;
        }
        if !later.is_empty()
            && let Err(error) = self.hold_back(stream, offset + passing as u64, later, at)
        {
            // A full disk widens the gap; a log never ends a job.
            tracing::warn!(%error, "the middle of a log could not be held back");
            self.segments.clear();
        }
        (passing > 0).then(|| self.chunk(stream, offset, now.to_vec(), at))
    }

    fn hold_back(
        &mut self,
        stream: Stream,
        offset: u64,
        bytes: &[u8],
        at: DateTime<Utc>,
    ) -> std::io::Result<()> {
        let full = |s: &Segment| s.bytes >= SEGMENT_BYTES || s.runs.len() >= SEGMENT_RUNS_MAX;
        if self.segments.back().is_none_or(full) {
            let file = tempfile::tempfile_in(&self.spool_folder)?;
            self.segments.push_back(Segment { file, runs: Vec::new(), bytes: 0 });
        }
        let segment = self.segments.back_mut().expect("one was pushed");
        segment.file.write_all(bytes)?;
        segment.bytes += bytes.len() as u64;
        match segment.runs.last_mut() {
            Some(run) if run.stream == stream && run.offset + run.length as u64 == offset => {
                run.length += bytes.len()
            }
            Some(_) | None => segment.runs.push(Run { stream, offset, length: bytes.len(), at }),
        }
        let held: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let oldest = self.segments.front().map_or(0, |segment| segment.bytes);
        if held - oldest >= self.half_bytes || self.segments.len() > SEGMENTS_MAX {
            self.segments.pop_front();
        }
        Ok(())
    }

    /// The attempt has written its last byte: what was held back follows, after the gaps.
    pub(crate) fn into_tail(self) -> Tail {
        let held: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let mut excess = held.saturating_sub(self.half_bytes);
        let mut runs: VecDeque<(usize, u64, Run)> = VecDeque::new();
        let mut files = Vec::with_capacity(self.segments.len());
        for segment in self.segments {
            let mut position = 0u64;
            for mut run in segment.runs {
                let length = run.length;
                let cut = excess.min(length as u64) as usize;
                excess -= cut as u64;
                run.offset += cut as u64;
                run.length -= cut;
                if run.length > 0 {
                    runs.push_back((files.len(), position + cut as u64, run));
                }
                position += length as u64;
            }
            files.push(segment.file);
        }
        let mut gaps = VecDeque::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let i = index(stream);
            let kept_from =
                runs.iter().find(|(_, _, run)| run.stream == stream).map_or(self.written[i], |r| r.2.offset);
            if kept_from > self.head_ends[i] {
                gaps.push_back(LogChunk {
                    attempt: self.attempt,
                    stream,
                    offset: self.head_ends[i],
                    bytes: Bytes64::default(),
                    gap_bytes: kept_from - self.head_ends[i],
                    at: Utc::now(),
                });
            }
        }
        Tail { attempt: self.attempt, gaps, files, runs }
    }
}

/// What follows the first half, chunk by chunk.
pub(crate) struct Tail {
    attempt: u32,
    gaps: VecDeque<LogChunk>,
    files: Vec<File>,
    runs: VecDeque<(usize, u64, Run)>,
}

impl Iterator for Tail {
    type Item = LogChunk;

    fn next(&mut self) -> Option<LogChunk> {
        if let Some(gap) = self.gaps.pop_front() {
            return Some(gap);
        }
        let (file, position, run) = self.runs.front_mut()?;
        let length = run.length.min(CHUNK_BYTES);
        let mut bytes = vec![0; length];
        let handle = &mut self.files[*file];
        let read = handle.seek(SeekFrom::Start(*position)).and_then(|_| handle.read_exact(&mut bytes));
        let mut chunk = LogChunk {
            attempt: self.attempt,
            stream: run.stream,
            offset: run.offset,
            bytes: Bytes64(bytes),
            gap_bytes: 0,
            at: run.at,
        };
        if let Err(error) = read {
            tracing::warn!(%error, "held back log bytes cannot be read");
            chunk.gap_bytes = length as u64;
            chunk.bytes = Bytes64::default();
        }
        *position += length as u64;
        run.offset += length as u64;
        run.length -= length;
        if run.length == 0 {
            self.runs.pop_front();
        }
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(limit: LogLimit) -> (Vec<(Stream, u64, u64)>, Vec<u8>) {
        let chunks: Vec<_> = limit.into_tail().collect();
        let gaps =
            chunks.iter().filter(|c| c.gap_bytes > 0).map(|c| (c.stream, c.offset, c.gap_bytes)).collect();
        (gaps, chunks.into_iter().flat_map(|c| c.bytes.0).collect())
    }

    #[test]
    fn a_log_within_its_limit_is_whole_and_has_no_gap() {
        let folder = tempfile::tempdir().unwrap();
        let mut limit = LogLimit::new(1, 16, folder.path());
        assert_eq!(limit.accept(Stream::Stdout, b"0123456789", Utc::now()).unwrap().bytes.0, b"01234567");
        assert!(limit.accept(Stream::Stdout, b"abcdef", Utc::now()).is_none());
        assert_eq!(limit.written(Stream::Stdout), 16);
        assert_eq!(tail(limit), (vec![], b"89abcdef".to_vec()));
    }

    #[test]
    fn above_the_limit_the_middle_is_a_gap_of_each_stream() {
        let folder = tempfile::tempdir().unwrap();
        let mut limit = LogLimit::new(1, 16, folder.path());
        limit.accept(Stream::Stdout, b"01234567", Utc::now()).unwrap();
        for _ in 0..3 {
            assert!(limit.accept(Stream::Stderr, b"lost.", Utc::now()).is_none());
        }
        assert!(limit.accept(Stream::Stdout, b"the end", Utc::now()).is_none());
        assert_eq!(tail(limit), (vec![(Stream::Stderr, 0, 14)], b".the end".to_vec()));
    }

    #[test]
    fn what_is_held_back_never_outgrows_the_half_by_more_than_a_segment() {
        let folder = tempfile::tempdir().unwrap();
        let half = 2 * SEGMENT_BYTES;
        let mut limit = LogLimit::new(1, 2 * half, folder.path());
        let block = vec![b'x'; CHUNK_BYTES];
        let mut total = 0u64;
        while total < 5 * half {
            limit.accept(Stream::Stdout, &block, Utc::now());
            total += block.len() as u64;
            assert!(limit.segments.iter().map(|s| s.bytes).sum::<u64>() <= half + SEGMENT_BYTES);
        }
        let (gaps, bytes) = tail(limit);
        assert_eq!(gaps, [(Stream::Stdout, half, total - 2 * half)]);
        assert_eq!(bytes.len() as u64, half);
    }

    #[test]
    fn single_bytes_on_alternating_streams_stay_within_the_runs() {
        let folder = tempfile::tempdir().unwrap();
        let mut limit = LogLimit::new(1, 2 << 20, folder.path());
        for i in 0..(SEGMENTS_MAX + 2) * SEGMENT_RUNS_MAX + (1 << 20) {
            limit.accept(if i % 2 == 0 { Stream::Stdout } else { Stream::Stderr }, b"x", Utc::now());
        }
        assert!(limit.segments.len() <= SEGMENTS_MAX);
        assert_eq!(limit.segments.iter().map(|s| s.runs.len()).max(), Some(SEGMENT_RUNS_MAX));
    }
}
