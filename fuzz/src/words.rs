//! Single words: ids, hashes, sizes, times, paths, versions of Python. What is read reads back as it is written.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use rgrid_api::logs::Cursor;
use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, BatchId, ExecutionId, GridId, IntentId, KeyId, UploadId, WorkerId};
use rgrid_core::path::AbsolutePath;
use rgrid_core::quantity::{format_bytes, format_duration, parse_bytes, parse_cpu, parse_duration};
use rgrid_core::requires_python::RequiresPython;
use rgrid_core::runtime::{ImageName, PYTHON_MINOR, Python, Runtime};
use rgrid_core::secret::is_secret_name;
use rgrid_core::submission::Sha256;
use rgrid_core::worker::LimitGrade;

/// Every reader of a word reads the input.
pub fn words(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let text = text.as_ref();
    one_spelling::<AccountId>(text);
    one_spelling::<BatchId>(text);
    one_spelling::<ExecutionId>(text);
    one_spelling::<GridId>(text);
    one_spelling::<IntentId>(text);
    one_spelling::<KeyId>(text);
    one_spelling::<UploadId>(text);
    one_spelling::<WorkerId>(text);
    one_spelling::<Sha256>(text);
    one_spelling::<AbsolutePath>(text);
    one_spelling::<Status>(text);
    reads_back::<LimitGrade, _>(text, |grade| grade.as_str());
    reads_back::<Cursor, _>(text, Cursor::to_string);
    reads_back::<Runtime, _>(text, Runtime::to_string);
    one_spelling::<ImageName>(text);
    image(text);
    path(text);
    quantities(text);
    python(text);
    assert_eq!(is_secret_name(text), is_secret_name(&text.to_ascii_uppercase()));
    for status in rgrid_server::fuzzing::statuses(text).into_iter().flatten() {
        assert!(text.contains(&status.to_string()));
    }
    if let Some((key, value)) = rgrid_server::fuzzing::label(text) {
        assert_eq!(format!("{key}={value}"), text);
    }
}

/// An image's name leads nowhere else in the address that it becomes part of.
fn image(text: &str) {
    let Ok(name) = text.parse::<ImageName>() else { return };
    assert!(!["..", "//", "?", "#", "%"].iter().any(|part| name.as_str().contains(part)));
}

/// A word that is read is spelled in one way.
fn one_spelling<T: FromStr + Display>(text: &str) {
    if let Ok(read) = text.parse::<T>() {
        assert_eq!(read.to_string(), text);
    }
}

fn reads_back<T: FromStr + PartialEq + Debug, S: AsRef<str>>(text: &str, written: impl Fn(&T) -> S)
where
    T::Err: Debug,
{
    if let Ok(read) = text.parse::<T>() {
        assert_eq!(written(&read).as_ref().parse::<T>().expect("what is written can be read"), read);
    }
}

fn path(text: &str) {
    let Ok(path) = text.parse::<AbsolutePath>() else { return };
    assert!(!path.as_str().split('/').any(|name| matches!(name, "." | "..")) && !text.contains('\0'));
    assert!(path.is_within(&path));
    let mut below = path;
    while let Some(above) = below.parent() {
        assert_eq!(above.as_str().parse(), Ok(above.clone()));
        assert!(below.is_within(&above) && !above.is_within(&below) && !below.name().contains('/'));
        below = above;
    }
    assert_eq!(below.as_str(), "/");
}

/// What is shown is never more than what was read, reads back, and is then shown as before.
fn quantities(text: &str) {
    if let Ok(bytes) = parse_bytes(text) {
        let shown = format_bytes(bytes);
        let again = parse_bytes(&shown).expect("a size that is shown can be typed");
        assert!(again <= bytes && again >= bytes - bytes / 10, "{bytes} is shown as {shown}");
        assert_eq!(format_bytes(again), shown, "of {bytes}");
    }
    if let Ok(cpu) = parse_cpu(text) {
        assert!((1..=1_000_000).contains(&cpu));
        assert_eq!(parse_cpu(&format!("{cpu}m")), Ok(cpu));
    }
    if let Ok(time) = parse_duration(text) {
        let shown = format_duration(time);
        let again = parse_duration(&shown).expect("a time that is shown can be typed");
        assert!(again <= time, "{time:?} is shown as {shown}");
        assert_eq!(format_duration(again), shown, "of {time:?}");
    }
}

fn python(text: &str) {
    if let Ok(required) = text.parse::<RequiresPython>() {
        assert_eq!(required.to_string().parse(), Ok(required.clone()));
        for own in PYTHON_MINOR.filter_map(Python::new) {
            let chosen = required.choose(Some(own));
            assert_eq!(chosen == Some(own), required.allows(own));
            assert!(chosen.is_none_or(|chosen| required.allows(chosen)));
        }
    }
    // In range by its type: that it does not panic is what is looked at.
    let _ = rgrid_cli::fuzzing::pinned(text);
    if let Some(block) = rgrid_cli::fuzzing::block(text) {
        let comment = |line: &str| if line.is_empty() { "#\n".to_owned() } else { format!("# {line}\n") };
        let lines: String = block.lines().map(comment).collect();
        let again = rgrid_cli::fuzzing::block(&format!("# /// script\n{lines}# ///\n"));
        assert_eq!(again.as_deref(), Some(block.as_str()));
    }
}
