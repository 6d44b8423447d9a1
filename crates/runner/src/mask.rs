//! Takes secret values out of a stream before its bytes are counted, across the borders of chunks too.
//!
//! Bytes that may be the beginning of a value are held back until it is clear; a value is never longer than a
//! variable may be, so what is held is bounded by that.

use std::collections::BTreeMap;

use rgrid_core::secret;

use crate::guards;

/// What stands in the place of a value.
const MASK: &[u8] = b"***";

/// A shorter part of an index's credentials, such as a name, is found in too much else to be hidden.
const CREDENTIAL_BYTES_MIN: usize = 3;

fn secrets_of(environment: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    environment
        .iter()
        .filter(|(name, value)| secret::is_masked(name, value) && guards::holds(&guards::MASKING))
        .map(|(_, value)| value.as_str())
}

/// One stream's mask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mask {
    /// Longest first: of two that fit, the longer is the one that was meant.
    values: Vec<Vec<u8>>,
    /// The beginning of a value, as far as it was seen.
    held: Vec<u8>,
}

impl Mask {
    /// For the variables of an execution whose names say that they are secret.
    pub(crate) fn of(environment: &BTreeMap<String, String>) -> Self {
        Self::hiding(secrets_of(environment))
    }

    /// The same, and for the names and passwords of package indexes.
    pub(crate) fn of_build(
        environment: &BTreeMap<String, String>,
        credentials: &BTreeMap<String, String>,
    ) -> Self {
        let parts = credentials
            .values()
            .flat_map(|credentials| [credentials.as_str()].into_iter().chain(credentials.split(':')))
            .filter(|part| part.len() >= CREDENTIAL_BYTES_MIN);
        Self::hiding(secrets_of(environment).chain(parts))
    }

    fn hiding<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut values: Vec<Vec<u8>> = values.map(|value| value.as_bytes().to_vec()).collect();
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self { values, held: Vec::new() }
    }

    /// True when every byte passes as it is.
    pub(crate) fn is_idle(&self) -> bool {
        self.values.is_empty()
    }

    /// What may be shown now that `bytes` came.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        self.settle(false)
    }

    /// A whole text, as it may be shown.
    pub(crate) fn whole(mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = self.pass(bytes);
        shown.extend(self.end());
        shown
    }

    /// What was held back, at the end of the stream.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.settle(true)
    }

    fn settle(&mut self, is_end: bool) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.held);
        let mut shown = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let may_become_one = |value: &Vec<u8>| value.len() > rest.len() && value.starts_with(rest);
            if !is_end && self.values.iter().any(may_become_one) {
                self.held = rest.to_vec();
                break;
            }
            match self.values.iter().find(|value| rest.starts_with(value)) {
                Some(value) => {
                    shown.extend_from_slice(MASK);
                    at += value.len();
                }
                None => {
                    shown.push(rest[0]);
                    at += 1;
                }
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask() -> Mask {
        let environment = [
            ("TOKEN", "hunter22"),
            ("LONG_TOKEN", "hunter22-and-more"),
            ("PIN_KEY", "1234"),
            ("MODE", "production"),
        ];
        Mask::of(&environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    fn check(text: &str, expected: &str) {
        // However the stream is cut in three, the same is shown.
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut mask = mask();
                let mut shown = mask.pass(&text.as_bytes()[..first]);
                shown.extend(mask.pass(&text.as_bytes()[first..second]));
                shown.extend(mask.pass(&text.as_bytes()[second..]));
                shown.extend(mask.end());
                assert_eq!(String::from_utf8_lossy(&shown), expected, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_value_is_masked_wherever_the_stream_is_cut() {
        check("it is hunter22, really", "it is ***, really");
        check("hunter22hunter22", "******");
        check("hunhunter22", "hun***");
    }

    #[test]
    fn of_two_values_the_longer_is_masked() {
        check("hunter22-and-more.", "***.");
        check("hunter22-and-less", "***-and-less");
    }

    #[test]
    fn what_only_begins_like_a_value_is_shown_and_so_are_short_values_and_harmless_names() {
        check("hunter2", "hunter2");
        check("1234 production", "1234 production");
    }

    #[test]
    fn nothing_is_held_back_where_nothing_is_secret() {
        let mut mask = Mask::of(&BTreeMap::from([("MODE".to_owned(), "production".to_owned())]));
        assert!(mask.is_idle());
        assert_eq!(mask.pass(b"prod"), b"prod");
    }
}
