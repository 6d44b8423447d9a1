//! Requirements files, as pip and uv read them: with the files that they include, their constraints and their options
//! brought into one list, and every path in them absolute.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::DependencyError;
use super::name::Requirement;
use super::pin::{is_local_address, local_path};
use super::resolver::PRERELEASES;

/// Files that one may include, directly and indirectly.
const FILES_MAX: usize = 100;
/// A requirements file is no longer than this.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Options that are passed on, with the number of their values.
const OPTIONS: [(&str, bool); 10] = [
    ("--index-url", true),
    ("--extra-index-url", true),
    ("--find-links", true),
    ("--no-binary", true),
    ("--only-binary", true),
    ("--no-index", false),
    ("-i", true),
    ("-f", true),
    // pip's alone: they say how to install, and not what.
    ("--trusted-host", true),
    ("--use-feature", true),
];

/// All that a file and those it includes say. Sorted: the order of lines means nothing but for options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Requirements {
    pub wanted: BTreeSet<String>,
    pub constraints: BTreeSet<String>,
    /// Lines of options for the resolver, in their order.
    pub options: Vec<String>,
}

/// Reads the file and all that it includes.
pub(super) fn read(file: &Path) -> Result<Requirements, DependencyError> {
    let mut found = Requirements::default();
    include(file, Role::Wanted, &mut found, &mut BTreeSet::new())?;
    Ok(found)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Wanted,
    Constraint,
}

fn include(
    file: &Path,
    role: Role,
    found: &mut Requirements,
    seen: &mut BTreeSet<(PathBuf, Role)>,
) -> Result<(), DependencyError> {
    if seen.len() >= FILES_MAX || !seen.insert((file.to_owned(), role)) {
        return Ok(());
    }
    let text = text_of(file)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    for line in lines(&text) {
        let (first, value) = match line.split_once([' ', '=', '\t']) {
            Some((first, value)) if first.starts_with('-') => (first, value.trim_start_matches('=').trim()),
            Some(_) | None => (line.as_str(), ""),
        };
        // `-rfile` needs no space.
        let (first, value) = match first.get(..2) {
            Some(short @ ("-r" | "-c" | "-e")) if first.len() > 2 && value.is_empty() => (short, &first[2..]),
            Some(_) | None => (first, value),
        };
        match first {
            "-r" | "--requirement" | "--requirements" => {
                include(&crate::discovery::absolute(folder, Path::new(value)), role, found, seen)?
            }
            "-c" | "--constraint" | "--constraints" => {
                include(&crate::discovery::absolute(folder, Path::new(value)), Role::Constraint, found, seen)?
            }
            "-e" | "--editable" => {
                let line = match is_local_address(value) {
                    true => format!("-e {}", absolute(value, folder)),
                    false => format!("-e {value}"),
                };
                found.wanted.insert(line);
            }
            option if option.starts_with('-') => match OPTIONS.iter().find(|(known, _)| *known == option) {
                Some(("--trusted-host" | "--use-feature", _)) => {}
                Some(("--find-links" | "-f", _)) if is_local_address(value) => {
                    found.options.push(format!("--find-links {}", local_path(value, folder).display()));
                }
                Some((option, true)) => found.options.push(format!("{option} {value}")),
                Some((option, false)) => found.options.push((*option).to_owned()),
                None if option == PRERELEASES => found.options.push(PRERELEASES.to_owned()),
                None if matches!(option, "--prefer-binary" | "--require-hashes") => {}
                None => {
                    let problem = format!("the option {option} is not known");
                    return Err(DependencyError::Malformed { path: file.to_owned(), problem });
                }
            },
            _ => {
                let line = requirement(&line, folder);
                match role {
                    Role::Wanted => found.wanted.insert(line),
                    Role::Constraint => found.constraints.insert(line),
                };
            }
        }
    }
    Ok(())
}

/// One requirement with its path, if it is one, made absolute.
fn requirement(line: &str, folder: &Path) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_path = |text: &str| {
        let text = text.split(" ;").next().unwrap_or(text);
        let path = text.split('[').next().unwrap_or(text);
        let begins = ["./", "../", "/", "file:"].iter().any(|start| text.starts_with(start));
        begins
            || matches!(path, "." | "..")
            || ([".whl", ".tar.gz", ".zip"].iter().any(|end| path.ends_with(end))
                && folder.join(path).is_file())
    };
    if is_path(&line) {
        return absolute(&line, folder);
    }
    match Requirement::parse(&line) {
        Some(found) => match found.versions.strip_prefix('@').map(str::trim) {
            Some(address) if is_local_address(address) => {
                let extras = if found.extras.is_empty() {
                    String::new()
                } else {
                    format!("[{}]", found.extras.join(","))
                };
                let marker = found.marker.map(|marker| format!(" ; {marker}")).unwrap_or_default();
                format!("{}{extras} @ file://{}{marker}", found.name, local_path(address, folder).display())
            }
            Some(_) | None => line,
        },
        None => line,
    }
}

/// A local address, absolute, with its extras and its marker as they were.
fn absolute(text: &str, folder: &Path) -> String {
    let (address, marker) = match text.split_once(" ;") {
        Some((address, marker)) => (address, format!(" ;{marker}")),
        None => (text, String::new()),
    };
    let (path, extras) = match address.split_once('[') {
        Some((path, extras)) => (path, format!("[{extras}")),
        None => (address, String::new()),
    };
    format!("{}{extras}{marker}", local_path(path, folder).display())
}

/// The lines that say something, joined where they are continued and without comments.
fn lines(text: &str) -> Vec<String> {
    let joined = text.replace("\r\n", "\n").replace("\\\n", " ");
    let meaning = |line: &str| {
        let line = line.trim();
        let comment =
            if line.starts_with('#') { Some(0) } else { line.find(" #").or_else(|| line.find("\t#")) };
        line[..comment.unwrap_or(line.len())].trim().to_owned()
    };
    joined.lines().map(meaning).filter(|line| !line.is_empty()).collect()
}

/// The text of a file that somebody's tool wrote: on Windows that may be UTF-16.
fn text_of(file: &Path) -> Result<String, DependencyError> {
    let bytes = super::read_file(file, FILE_BYTES_MAX)?;
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    Ok(match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        bytes => String::from_utf8_lossy(bytes).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        for (name, text) in files {
            let file = top.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let text = match read(&top.join("requirements.txt")) {
            Ok(Requirements { wanted, constraints, options }) => {
                let constraints = constraints.into_iter().map(|line| format!("constraint {line}"));
                options.into_iter().chain(wanted).chain(constraints).collect::<Vec<_>>().join("\n")
            }
            Err(error) => error.to_string(),
        };
        text.replace(top.to_str().unwrap(), "/p")
    }

    #[test]
    fn included_files_constraints_and_paths_become_one_list() {
        let text = "# ours\n-r more/base.txt\n-c limits.txt\nsix==1.16 # pinned\n-e .[dev]\n./lib ; python_version > '3'\nmine @ ./wheels/mine-1.whl\n--extra-index-url https://h/simple\n--trusted-host h\n";
        let base = "requests [socks]  >= 2 \\\n    --hash=sha256:00\n-r ../requirements.txt\n-e ../other\n";
        insta::assert_snapshot!(
            check(&[("requirements.txt", text), ("more/base.txt", base), ("limits.txt", "idna<4\n")]),
            @r"
        --extra-index-url https://h/simple
        -e /p/other
        -e /p[dev]
        /p/lib ; python_version > '3'
        mine @ file:///p/wheels/mine-1.whl
        requests [socks] >= 2 --hash=sha256:00
        six==1.16
        constraint idna<4
        "
        );
    }

    #[test]
    fn order_and_comments_mean_nothing() {
        let one = check(&[("requirements.txt", "six\n\n# two\nidna  ==3.7\n")]);
        assert_eq!(one, check(&[("requirements.txt", "idna ==3.7 # again\r\nsix\r\n")]));
    }

    #[test]
    fn a_slip_is_named() {
        insta::assert_snapshot!(check(&[("requirements.txt", "--frobnicate x")]), @"/p/requirements.txt: the option --frobnicate is not known");
        insta::assert_snapshot!(check(&[("requirements.txt", "-r gone.txt")]), @"/p/gone.txt cannot be read");
    }
}
