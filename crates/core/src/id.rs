//! Identifiers: a word of the product and 26 characters of Crockford base32 that spell a UUIDv7.
//!
//! The time and the random bytes are passed in. Ids sort by the moment of their making.

use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters that spell the 128 bits of a UUID, five bits each.
const BODY_CHARS: usize = 26;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id of the form {prefix}_ and 26 characters")]
pub struct ParseIdError {
    prefix: &'static str,
    text: String,
}

/// Makes the bits of a UUIDv7 from a Unix time in milliseconds and ten random bytes (RFC 9562, section 5.7).
fn uuid_v7(unix_ms: u64, random: [u8; 10]) -> u128 {
    let mut bytes = [0u8; 16];
    bytes[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&random);
    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    u128::from_be_bytes(bytes)
}

fn encode(bits: u128) -> String {
    (0..BODY_CHARS)
        .map(|i| {
            let shift = 5 * (BODY_CHARS - 1 - i);
            char::from(ALPHABET[(bits >> shift) as usize & 31])
        })
        .collect()
}

fn decode(body: &str) -> Option<u128> {
    if body.len() != BODY_CHARS {
        return None;
    }
    let mut bits: u128 = 0;
    for (i, byte) in body.bytes().enumerate() {
        let value = ALPHABET.iter().position(|c| *c == byte)? as u128;
        // 26 characters hold 130 bits: the first may only carry three.
        if i == 0 && value > 7 {
            return None;
        }
        bits = bits << 5 | value;
    }
    Some(bits)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The word before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Makes an id from a Unix time in milliseconds and ten random bytes.
            pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
                Self(uuid_v7(unix_ms, random))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(Self)
                    .ok_or_else(|| ParseIdError { prefix: $prefix, text: text.chars().take(64).collect() })
            }
        }
    )*};
}

ids! {
    /// One invocation of a script.
    ExecutionId = "exec";
    /// Executions made from one command.
    BatchId = "batch";
    /// A machine that runs attempts.
    WorkerId = "worker";
    /// The owner of executions, keys, blobs and limits.
    AccountId = "account";
    /// An API key's public name; the secret is another thing.
    KeyId = "key";
    /// One upload of a blob that is not committed yet.
    UploadId = "upload";
    /// A server that we mean to create, written before it is asked for.
    IntentId = "intent";
    /// A whole grid: it stands on every label of what we create at a provider.
    GridId = "grid";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_sorts_by_time() {
        let early = ExecutionId::new(1_700_000_000_000, [1; 10]);
        let late = ExecutionId::new(1_700_000_000_001, [0; 10]);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert!(early < late && early.to_string() < late.to_string());
        insta::assert_snapshot!(early, @"exec_01HF7YAT00E40R2081040G2081");
    }

    #[test]
    fn other_words_lengths_and_letters_are_refused() {
        for text in [
            "",
            "exec_",
            "batch_01HF7YAT0070G40G40G4081041",
            "exec_01hf7yat0070g40g40g4081041",
            "exec_81HF7YAT0070G40G40G4081041",
            "exec_U1HF7YAT0070G40G40G408104",
            "exec_é1HF7YAT0070G40G40G40810",
        ] {
            assert!(text.parse::<ExecutionId>().is_err(), "{text}");
        }
    }
}
