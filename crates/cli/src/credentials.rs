//! `~/.rgrid/credentials`: which grids this person has keys for. INI, one section per profile, mode 0600.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ini::Ini;

use crate::errors::{Doing, Error};
use crate::grid::GridAddress;

/// The profile that is used when none is named.
pub(crate) const DEFAULT_PROFILE: &str = "default";

/// Where the file lies, whether or not it is there.
pub(crate) fn path() -> Result<PathBuf, Error> {
    match std::env::home_dir() {
        Some(home) if !home.as_os_str().is_empty() => Ok(home.join(".rgrid/credentials")),
        Some(_) | None => Err(Error::NoHome),
    }
}

fn load(path: &Path) -> Result<Option<Ini>, Error> {
    match Ini::load_from_file_noescape(path) {
        Ok(file) => Ok(Some(file)),
        Err(ini::Error::Io(source)) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(ini::Error::Io(source)) => Err(Error::File { doing: Doing::Read, path: path.to_owned(), source }),
        Err(ini::Error::Parse(error)) => Err(Error::Credentials {
            path: path.to_owned(),
            problem: format!("line {}: {}", error.line, error.msg),
        }),
    }
}

/// The address of `profile`; `None` when the file has no such section.
pub(crate) fn read(path: &Path, profile: &str) -> Result<Option<GridAddress>, Error> {
    let Some(file) = load(path)? else { return Ok(None) };
    let Some(section) = file.section(Some(profile)) else { return Ok(None) };
    let field = |name: &str| {
        section.get(name).map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).ok_or_else(
            || Error::Credentials {
                path: path.to_owned(),
                problem: format!("profile [{profile}] has no `{name}`"),
            },
        )
    };
    Ok(Some(GridAddress { url: field("url")?, key: field("key")? }))
}

/// All that a file says: profile, field and value of each line.
fn entries(file: &Ini) -> Vec<[Option<&str>; 3]> {
    let fields = |(profile, fields)| {
        let fields: &ini::Properties = fields;
        fields.iter().map(move |(name, value)| [profile, Some(name), Some(value)])
    };
    file.iter().flat_map(fields).collect()
}

/// The names of all profiles.
pub(crate) fn profiles(path: &Path) -> Result<Vec<String>, Error> {
    Ok(load(path)?.iter().flat_map(|file| file.sections().flatten().map(str::to_owned)).collect())
}

/// True when others of this machine can read the file.
pub(crate) fn is_exposed(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

/// Writes `profile` and keeps the others. The file is written aside and renamed, so that no other program sees
/// half of it, and nobody else can read it at any moment.
pub(crate) fn write(path: &Path, profile: &str, address: &GridAddress) -> Result<(), Error> {
    let failed = |source| Error::File { doing: Doing::Write, path: path.to_owned(), source };
    let mut file = load(path)?.unwrap_or_default();
    file.with_section(Some(profile)).set("url", &address.url).set("key", &address.key);
    let mut text = Vec::new();
    file.write_to_policy(&mut text, ini::EscapePolicy::Nothing).map_err(failed)?;
    // A value in quotes that holds a line end is written without them, and would take what follows along.
    let again = Ini::load_from_str_noescape(&String::from_utf8_lossy(&text));
    if !again.is_ok_and(|again| entries(&again) == entries(&file)) {
        let problem = "it holds a value that cannot be written again; add the profile by hand".to_owned();
        return Err(Error::Credentials { path: path.to_owned(), problem });
    }

    let folder = path.parent().expect("the path ends in .rgrid/credentials");
    std::fs::create_dir_all(folder).map_err(failed)?;
    // Another command of ours may keep its caches there: the folder is nobody else's business either.
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).map_err(failed)?;
    let aside = folder.join(format!(".credentials.{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .and_then(|mut out| out.write_all(&text).and_then(|()| out.sync_all()))
        .and_then(|()| std::fs::rename(&aside, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&aside);
    }
    written.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str, key: &str) -> GridAddress {
        GridAddress { url: url.to_owned(), key: key.to_owned() }
    }

    #[test]
    fn profiles_are_kept_side_by_side_and_only_the_owner_reads_them() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".rgrid/credentials");
        assert_eq!(read(&path, DEFAULT_PROFILE).unwrap(), None);
        write(&path, DEFAULT_PROFILE, &address("https://one.example", "rg_one")).unwrap();
        write(&path, "work", &address("https://two.example:8443", "rg_two#;=")).unwrap();
        write(&path, DEFAULT_PROFILE, &address("https://three.example", "rg_three")).unwrap();
        assert_eq!(read(&path, DEFAULT_PROFILE).unwrap(), Some(address("https://three.example", "rg_three")));
        assert_eq!(read(&path, "work").unwrap(), Some(address("https://two.example:8443", "rg_two#;=")));
        assert_eq!(profiles(&path).unwrap(), ["default", "work"]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!is_exposed(&path));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_would_be_damaged_by_a_new_profile_is_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("credentials");
        let text = "[default]\nurl = \"https://one.example\n[x\"\nkey = rg_one\n";
        std::fs::write(&path, text).unwrap();
        let written = write(&path, "work", &address("https://two.example", "rg_two"));
        assert!(matches!(written, Err(Error::Credentials { .. })), "{written:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_profile_without_a_key_is_named() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("credentials");
        std::fs::write(&path, "[default]\nurl = https://one.example\n").unwrap();
        assert!(
            matches!(read(&path, DEFAULT_PROFILE), Err(Error::Credentials { problem, .. }) if problem.contains("`key`"))
        );
    }
}
