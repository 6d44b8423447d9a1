//! A follow: the server-sent events of `GET /executions/{id}/logs/stream`, and the reader of their text form.
//!
//! `id:` of an event is the cursor after it, so `Last-Event-ID` resumes without gap or duplicate.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::executions::Execution;
use crate::logs::LogChunk;

/// An event as it is sent: what the API's document says of a stream.
#[derive(Debug, ToSchema)]
pub struct SentEvent {
    /// The cursor after it: sent back as `Last-Event-ID` it resumes there.
    #[schema(pattern = "^[0-9]+:[0-9]+:[0-9]+$")]
    pub id: String,
    /// A FollowEvent, as JSON.
    pub data: String,
}

/// One event of a follow. A stream that ends without `End` was cut: resume it from the last cursor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum FollowEvent {
    /// The execution's status, attempt or reason for waiting changed.
    Status {
        /// As it stands now.
        execution: Box<Execution>,
    },
    /// Log bytes, or a gap.
    Log {
        /// What was written.
        chunk: LogChunk,
    },
    /// It ended, and every byte of its log was sent.
    End {
        /// As it ended.
        execution: Box<Execution>,
    },
}

/// An event as text has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SseEvent {
    /// The `id:` field.
    pub id: Option<String>,
    /// The `data:` lines, joined.
    pub data: String,
}

/// The most bytes one event may have; more is a fault of the peer.
pub const EVENT_BYTES_MAX: usize = 4 << 20;

/// Splits a byte stream into events (WHATWG HTML, section 9.2.6, without BOM and `retry:`).
#[derive(Debug, Default)]
pub struct SseReader {
    buffer: Vec<u8>,
    event: SseEvent,
    has_data: bool,
}

/// An event was larger than [`EVENT_BYTES_MAX`], or was not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event stream is damaged")]
pub struct SseError;

impl SseReader {
    /// Takes the next bytes and gives the events that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, SseError> {
        self.buffer.extend_from_slice(bytes);
        let mut events = Vec::new();
        let mut start = 0;
        while let Some(end) = self.buffer[start..].iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&self.buffer[start..start + end]).map_err(|_| SseError)?;
            let line = line.strip_suffix('\r').unwrap_or(line);
            start += end + 1;
            if line.is_empty() {
                if std::mem::take(&mut self.has_data) {
                    events.push(std::mem::take(&mut self.event));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => {
                    if self.has_data {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                    self.has_data = true;
                }
                "id" => self.event.id = Some(value.to_owned()),
                _ => {}
            }
        }
        self.buffer.drain(..start);
        if self.buffer.len() + self.event.data.len() > EVENT_BYTES_MAX {
            return Err(SseError);
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_any_cut_of_the_bytes() {
        let text = b": hello\n\nid: 1:2:3\ndata: a\ndata: b\r\n\nevent: x\ndata:c\n\n";
        let whole = SseReader::default().push(text).unwrap();
        assert_eq!(whole.len(), 2);
        assert_eq!((whole[0].id.as_deref(), whole[0].data.as_str()), (Some("1:2:3"), "a\nb"));
        for cut in 0..text.len() {
            let mut reader = SseReader::default();
            let mut events = reader.push(&text[..cut]).unwrap();
            events.extend(reader.push(&text[cut..]).unwrap());
            assert_eq!(events, whole, "cut at {cut}");
        }
    }
}
