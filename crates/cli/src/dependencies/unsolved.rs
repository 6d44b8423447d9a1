//! What uv's words mean when it found no set of versions.

use super::torch;

/// What became of a resolution that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No set fits; with the version that the index lacks, when that is why.
    Unsolvable { missing: Option<(String, String)> },
    /// An index did not answer.
    Unreachable {
        /// It is the one that has torch for machines without a GPU.
        of_torch: bool,
    },
    /// Anything else: a line that cannot be read, a package whose metadata cannot be built.
    Other,
}

/// Signs of an index that does not answer.
const UNREACHABLE: [&str; 5] =
    ["Failed to fetch", "Request failed after", "error sending request", "tcp connect error", "dns error"];

/// Reads uv's words.
pub(super) fn failure(words: &str) -> Failure {
    if words.contains("No solution found") {
        return Failure::Unsolvable { missing: missing(words) };
    }
    if UNREACHABLE.iter().any(|sign| words.contains(sign)) {
        return Failure::Unreachable { of_torch: words.contains(torch::HOST) };
    }
    Failure::Other
}

/// The first exact version that is nowhere to be had.
fn missing(words: &str) -> Option<(String, String)> {
    let flat = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let pair = flat.split_once("no version of ")?.1.split_whitespace().next()?;
    let (name, version) = pair.split_once("==")?;
    let version = version.trim_end_matches([',', '.', ';']);
    let plain = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-!+".contains(c))
    };
    (plain(name) && plain(version)).then(|| (name.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uvs_words_are_told_apart() {
        let none = "error: No solution found when resolving dependencies\n  cause: Because there is no version of\n   idna==99.1 and you require idna==99.1, we can conclude";
        let missing = Some(("idna".to_owned(), "99.1".to_owned()));
        assert_eq!(failure(none), Failure::Unsolvable { missing });
        let conflict = "error: No solution found when resolving dependencies\n  cause: Because requests==2.31.0 depends on urllib3>=1.21.1,<3";
        assert_eq!(failure(conflict), Failure::Unsolvable { missing: None });
        let down = "error: Failed to fetch: http://h/simple/idna/\n  cause: tcp connect error";
        assert_eq!(failure(down), Failure::Unreachable { of_torch: false });
        let torch = "error: Request failed after 3 retries\n  cause: Failed to fetch: https://download.pytorch.org/whl/cpu/torch/";
        assert_eq!(failure(torch), Failure::Unreachable { of_torch: true });
        assert_eq!(failure("error: Couldn't parse requirement"), Failure::Other);
    }
}
