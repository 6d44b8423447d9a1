//! Secrets that we draw: 256 random bits written in base 62, and the hash under which they are stored.

use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of base 62 that hold 256 bits.
const CHARS: usize = 43;

/// Draws a secret: `prefix` and 43 characters.
pub(crate) fn draw(prefix: &str) -> String {
    let mut text = String::with_capacity(prefix.len() + CHARS);
    text.push_str(prefix);
    let mut bytes: [u8; 32] = random();
    for _ in 0..CHARS {
        // Long division of the 256-bit number by 62: the remainder is the next character.
        let mut rest = 0u32;
        for byte in &mut bytes {
            let value = rest << 8 | u32::from(*byte);
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        text.push(char::from(ALPHABET[rest as usize]));
    }
    text
}

/// What is stored of a secret.
pub(crate) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Random bytes of the system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("Linux and macOS always give random bytes once they have booted");
    bytes
}

/// Milliseconds of Unix time by this machine's clock: only for the making of ids, which must not need the database.
pub(crate) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_one_length_and_differ() {
        let (a, b) = (draw("rg_"), draw("rg_"));
        assert_eq!(a.len(), 3 + CHARS);
        assert_ne!(a, b);
    }
}
