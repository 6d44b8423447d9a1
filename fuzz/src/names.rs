//! Names of files that others chose: what of them reaches a terminal, which patterns they match, and that no pattern
//! makes a secret travel.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rgrid_cli::fuzzing as cli;

use crate::input::Input;

/// The plain definition of a match takes the product of the two lengths.
const COMPARED_BYTES_MAX: usize = 200;

/// After its letter the input is a name, a pattern and a name, or files of patterns and a path.
pub fn names(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() {
        b'p' => {
            let pattern = input.text_line();
            pattern_and_name(&pattern, &input.text());
        }
        b'i' => ignored(input),
        _ => terminal(input.rest()),
    }
}

fn is_harmless(text: &str) -> bool {
    !text.chars().any(cli::commands)
}

fn terminal(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let shown = cli::shown(&text);
    assert!(is_harmless(&shown));
    assert_eq!(cli::shown(&shown), shown);
    assert_eq!(shown == text, is_harmless(&text));
    let paths = [text.clone().into_owned(), "/a".to_owned()];
    assert!(cli::not_brought_back(&paths).is_some_and(|sentence| is_harmless(&sentence)));
    let told = rgrid_runner::fuzzing::escaped(Path::new(OsStr::from_bytes(bytes)));
    assert!(!told.chars().any(char::is_control));
}

/// Without a class a pattern means what the plain definition says.
fn pattern_and_name(pattern: &str, name: &str) {
    let matched = cli::matches(pattern, name);
    if pattern.contains('[') || pattern.len() + name.len() > COMPARED_BYTES_MAX {
        return;
    }
    let name: Vec<char> = name.chars().collect();
    // Which beginnings of the name the pattern so far may stand for.
    let mut fits = vec![false; name.len() + 1];
    fits[0] = true;
    for sign in pattern.chars() {
        let before = fits.clone();
        for end in 0..=name.len() {
            fits[end] = match sign {
                '*' => before[..=end].contains(&true),
                '?' => end > 0 && before[end - 1],
                letter => end > 0 && before[end - 1] && name[end - 1] == letter,
            };
        }
    }
    assert_eq!(matched, fits[name.len()]);
}

/// `.rgridignore` up to a NUL, `.gitignore` up to the next, then a path.
fn ignored(input: Input<'_>) {
    let mut parts = input.rest().splitn(3, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (ours, gits, path) = (next(), next(), String::from_utf8_lossy(next()));
    let project = tempfile::tempdir().expect("a temporary folder can be made");
    let root = project.path();
    fs::write(root.join(".rgridignore"), ours).expect("a file can be written");
    fs::write(root.join(".gitignore"), gits).expect("a file can be written");
    for secret in
        [".env", ".env.local", "id_rsa", "server.key", ".git/config", "a/.ssh/known_hosts", ".netrc"]
    {
        assert!(cli::is_kept_back(root, &root.join(secret), false), "{secret} would travel");
    }
    // As discovery spells paths: without `.` and `..`.
    let plain = |part: &Component<'_>| matches!(part, Component::Normal(_));
    let path: PathBuf = root.components().chain(Path::new(&*path).components().filter(plain)).collect();
    // What lies in a folder that does not travel does not either.
    if cli::is_kept_back(root, &path, true) && path != root {
        assert!(cli::is_kept_back(root, &path.join("x"), false));
    }
}
