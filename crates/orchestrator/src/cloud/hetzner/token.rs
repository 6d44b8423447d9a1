//! The provider's token: it is sent, and never shown. Messages of the provider may quote part of it, so they are cleaned.

use std::fmt;

/// So many letters of the token in a row are recognised as part of it.
const PART_CHARS: usize = 4;
/// Characters of a message that are kept.
const MESSAGE_CHARS_MAX: usize = 300;

/// The secret that opens a project.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps what the operator set.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }

    /// A message without control characters, without any part of the token, and not too long.
    pub(super) fn redact(&self, message: &str) -> String {
        let letters: Vec<char> =
            message.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect();
        let secret: Vec<char> = self.0.chars().collect();
        let mut out = String::with_capacity(letters.len());
        let mut at = 0;
        while at < letters.len() {
            let longest = secret
                .iter()
                .enumerate()
                .map(|(from, _)| {
                    letters[at..].iter().zip(&secret[from..]).take_while(|(a, b)| a == b).count()
                })
                .max()
                .unwrap_or(0);
            if longest >= PART_CHARS.min(secret.len()) && longest > 0 {
                out.push_str("***");
                at += longest;
            } else {
                out.push(letters[at]);
                at += 1;
            }
        }
        out
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_token_is_left_in_a_message() {
        let token = Token::new("6MWqAbCdEfGh0123456789");
        let seen = token.redact("Limit of '3600' requests per hour for token '6MWq...' reached.\r\n");
        assert_eq!(seen, "Limit of '3600' requests per hour for token '***...' reached.");
        assert_eq!(token.redact("x 6MWqAbCdEfGh0123456789 y CdEfGh"), "x *** y ***");
        assert_eq!(format!("{token:?}"), "Token(***)");
        assert_eq!(token.redact(&"é".repeat(999)).chars().count(), MESSAGE_CHARS_MAX);
    }
}
