//! Which values must not stand in a log. What masks them lives in the runner.

/// A shorter value is not masked: it would be found in words that have nothing to do with it (SEMANTICS section 6).
pub const MASKED_BYTES_MIN: usize = 6;

/// Words that make the name of an environment variable that of a secret.
const WORDS: [&str; 13] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PASS",
    "PWD",
    "CREDENTIAL",
    "CREDENTIALS",
    "KEY",
    "APIKEY",
    "AUTH",
    "DSN",
];

/// True when the variable's name says that its value is a secret: one of its words does, as in `API_KEY` or `DbPassword2`.
pub fn is_secret_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let words = upper.split(|letter: char| !letter.is_ascii_alphabetic());
    let mut words = words.filter(|word| !word.is_empty());
    words.any(|word| WORDS.contains(&word))
        || ["TOKEN", "SECRET", "PASSWORD", "APIKEY"].iter().any(|end| upper.contains(end))
}

/// True when a variable's value is masked in the log.
pub fn is_masked(name: &str, value: &str) -> bool {
    is_secret_name(name) && value.len() >= MASKED_BYTES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whether_its_value_is_a_secret() {
        for name in [
            "TOKEN",
            "API_KEY",
            "GITHUB_TOKEN",
            "db_password",
            "DbPassword2",
            "AWS_SECRET_ACCESS_KEY",
            "OPENAI_APIKEY",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in
            ["MODE", "KEYBOARD", "PYTHONHASHSEED", "AUTHOR", "MONKEY_COUNT", "PASSENGERS", "COMPASS", ""]
        {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn short_values_and_harmless_names_are_shown() {
        assert!(is_masked("TOKEN", "123456"));
        assert!(!is_masked("TOKEN", "12345"));
        assert!(!is_masked("MODE", "production"));
    }
}
