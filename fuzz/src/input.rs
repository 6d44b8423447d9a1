//! An input taken apart. Seeds are written by hand, so the first byte, a letter, says what the rest is.

use std::borrow::Cow;

/// What is left of an input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte; 0 at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    /// All bytes before the next line end, which is dropped.
    pub(crate) fn line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let (line, rest) = match end {
            Some(end) => (&self.0[..end], &self.0[end + 1..]),
            None => (self.0, &[][..]),
        };
        self.0 = rest;
        line
    }

    /// The next line as text.
    pub(crate) fn text_line(&mut self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.line())
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn text(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }
}

/// `bytes` cut into parts: `cuts` gives the length of each in turn, over and over.
pub(crate) fn parts<'a>(bytes: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut parts = Vec::new();
    let mut lengths = cuts.iter().map(|cut| usize::from(*cut).max(1)).cycle();
    while !rest.is_empty() {
        let length = lengths.next().unwrap_or(rest.len()).min(rest.len());
        let (part, after) = rest.split_at(length);
        parts.push(part);
        rest = after;
    }
    parts
}
