//! Decides whether the user must be asked before something large is sent. Pure: the command asks.

use rgrid_core::limits;
use rgrid_core::path::AbsolutePath;

/// How many of the largest files the question names.
const LARGEST_SHOWN: usize = 5;

/// What to ask: it holds all that the question names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question<'a> {
    /// Files that are not on the grid yet.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The largest of them, largest first.
    pub largest: Vec<(&'a AbsolutePath, u64)>,
}

/// The question to ask before `missing` (the files that are not yet on the grid, with their sizes) is sent; `None`
/// when it is little enough to be sent without one.
pub fn question<'a>(missing: impl IntoIterator<Item = (&'a AbsolutePath, u64)>) -> Option<Question<'a>> {
    let mut largest: Vec<_> = missing.into_iter().collect();
    let files = largest.len();
    let bytes = largest.iter().map(|(_, size)| size).sum();
    if bytes <= limits::ASK_ABOVE_BYTES && files <= limits::ASK_ABOVE_FILES {
        return None;
    }
    largest.sort_by(|(a_path, a), (b_path, b)| b.cmp(a).then(a_path.cmp(b_path)));
    largest.truncate(LARGEST_SHOWN);
    Some(Question { files, bytes, largest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sizes: &[u64]) -> Vec<(AbsolutePath, u64)> {
        sizes.iter().enumerate().map(|(i, size)| (format!("/p/{i}").parse().unwrap(), *size)).collect()
    }

    fn ask(files: &[(AbsolutePath, u64)]) -> Option<Question<'_>> {
        question(files.iter().map(|(path, size)| (path, *size)))
    }

    #[test]
    fn exactly_the_limit_is_not_asked_about() {
        assert_eq!(ask(&files(&[limits::ASK_ABOVE_BYTES - 1, 1])), None);
        assert_eq!(ask(&files(&vec![1; limits::ASK_ABOVE_FILES])), None);
    }

    #[test]
    fn the_five_largest_are_named() {
        let files = files(&[1, limits::ASK_ABOVE_BYTES, 3, 9, 9, 2, 4]);
        let question = ask(&files).unwrap();
        let named: Vec<_> = question.largest.iter().map(|(path, _)| path.name()).collect();
        assert_eq!((question.files, named), (7, vec!["1", "3", "4", "6", "2"]));
    }

    #[test]
    fn many_small_files_are_asked_about_too() {
        let files = files(&vec![0; limits::ASK_ABOVE_FILES + 1]);
        assert_eq!(ask(&files).unwrap().bytes, 0);
    }
}
