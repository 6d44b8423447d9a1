//! Files that are nothing without others beside them: who names one means them all.

use std::path::{Path, PathBuf};

/// What SQLite has written and not yet moved into the database.
const OF_DATABASE: [&str; 2] = ["-wal", "-journal"];
/// The parts of a shapefile.
const OF_SHAPEFILE: [&str; 7] = ["cpg", "dbf", "prj", "qix", "sbn", "sbx", "shx"];

/// Where the others would lie; they need not exist.
pub(crate) fn companions(path: &Path) -> Vec<PathBuf> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("db" | "db3" | "sqlite" | "sqlite3") => {
            let beside = |suffix: &&str| {
                let mut name = path.as_os_str().to_owned();
                name.push(suffix);
                PathBuf::from(name)
            };
            OF_DATABASE.iter().map(beside).collect()
        }
        Some("shp") => OF_SHAPEFILE.iter().map(|extension| path.with_extension(extension)).collect(),
        Some(_) | None => Vec::new(),
    }
}
