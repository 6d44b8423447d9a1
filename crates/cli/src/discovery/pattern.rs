//! Patterns as Python's `glob` takes them: `*`, `?`, `[...]` within one name, `**` over folders.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that one pattern looks into.
const FOLDERS_MAX: usize = 20_000;
/// Folders within folders for `**`.
const DEPTH_MAX: usize = 64;

/// Whether names that start with a dot match patterns that do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// As the `glob` module has it.
    Skipped,
    /// As `pathlib` has it.
    Matched,
}

/// True when a text is a pattern.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The paths that match `pattern`, sorted. `enter` says whether a folder may be looked into by `**`.
pub(crate) fn expand(
    folder: &Path,
    pattern: &str,
    hidden: Hidden,
    enter: &mut dyn FnMut(&Path) -> bool,
) -> Vec<PathBuf> {
    let start = if pattern.starts_with('/') { PathBuf::from("/") } else { folder.to_owned() };
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let mut search = Search { hidden, budget: FOLDERS_MAX, enter, found: Vec::new() };
    search.descend(start, &parts, 0);
    search.found.sort();
    search.found.dedup();
    search.found
}

struct Search<'a> {
    hidden: Hidden,
    /// Folders that may still be read.
    budget: usize,
    enter: &'a mut dyn FnMut(&Path) -> bool,
    found: Vec<PathBuf>,
}

impl Search<'_> {
    fn descend(&mut self, at: PathBuf, parts: &[&str], depth: usize) {
        let Some((part, rest)) = parts.split_first() else {
            self.found.push(at);
            return;
        };
        if *part == ".." {
            return self.descend(super::place::absolute(&at, Path::new("..")), rest, depth);
        }
        if !is_pattern(part) {
            let next = at.join(part);
            if next.symlink_metadata().is_ok() {
                self.descend(next, rest, depth);
            }
            return;
        }
        if self.budget == 0 || depth > DEPTH_MAX {
            return;
        }
        self.budget -= 1;
        if *part == "**" {
            self.descend(at.clone(), rest, depth);
        }
        let Ok(entries) = fs::read_dir(&at) else {
            return;
        };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name.starts_with('.') && !part.starts_with('.') && self.hidden == Hidden::Skipped {
                continue;
            }
            let next = at.join(&name);
            if *part == "**" {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) && (self.enter)(&next) {
                    self.descend(next, parts, depth + 1);
                }
            } else if matches(part, &name) {
                self.descend(next, rest, depth);
            }
        }
    }
}

/// True when a name matches the pattern of one name.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // Greedy with one point to come back to: the last star.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some('?') => {
                (p, n) = (p + 1, n + 1);
                continue;
            }
            Some('[') => {
                if let Some((length, holds)) = class(&pattern[p..], name[n]) {
                    if holds {
                        (p, n) = (p + length, n + 1);
                        continue;
                    }
                } else if name[n] == '[' {
                    (p, n) = (p + 1, n + 1);
                    continue;
                }
            }
            Some(literal) if *literal == name[n] => {
                (p, n) = (p + 1, n + 1);
                continue;
            }
            Some(_) | None => {}
        }
        let Some((after, taken)) = star else {
            return false;
        };
        star = Some((after, taken + 1));
        (p, n) = (after, taken + 1);
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The length of a `[...]` class, and whether it holds the letter; `None` when it is not closed.
fn class(pattern: &[char], letter: char) -> Option<(usize, bool)> {
    let negated = pattern.get(1) == Some(&'!');
    let first = if negated { 2 } else { 1 };
    let end = (first + 1..pattern.len()).find(|i| pattern[*i] == ']')?;
    let mut holds = false;
    let mut i = first;
    while i < end {
        if i + 2 < end && pattern[i + 1] == '-' {
            holds |= (pattern[i]..=pattern[i + 2]).contains(&letter);
            i += 3;
        } else {
            holds |= pattern[i] == letter;
            i += 1;
        }
    }
    Some((end + 1, holds != negated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_fnmatch_has_it() {
        for (pattern, name, expected) in [
            ("*.csv", "a.csv", true),
            (".*", ".a", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[", "[", true),
            ("*a*b*c", "xaybzc", true),
            ("*a*b*c", "xaybz", false),
            ("", "", true),
            ("é*", "été", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
