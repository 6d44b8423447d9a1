//! Where a workspace lies: a folder on the machine's disk, where its size is watched, or a file system of its own, which
//! bounds it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::process::{Disks, FileSystem};

/// A place for one workspace at a time.
#[derive(Debug)]
pub struct Place(Kind);

#[derive(Debug)]
enum Kind {
    Watched(PathBuf),
    /// The file system is there until it is given back.
    Hard(Option<FileSystem>, Arc<Disks>),
}

impl Place {
    pub(crate) fn watched(folder: PathBuf) -> Self {
        Self(Kind::Watched(folder))
    }

    /// A file system of its own, where disk limits are hard; else this folder, which is made.
    pub(super) fn take(disks: Option<&Arc<Disks>>, watched: PathBuf, bytes: u64) -> io::Result<Self> {
        match disks {
            Some(disks) => Ok(Self(Kind::Hard(Some(disks.take(bytes)?), Arc::clone(disks)))),
            None => {
                std::fs::create_dir_all(&watched)?;
                Ok(Self::watched(watched))
            }
        }
    }

    /// The folder in which the workspace is to be made.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match &self.0 {
            Kind::Watched(folder) => folder,
            Kind::Hard(Some(disk), _) => disk.folder(),
            Kind::Hard(None, disks) => disks.folder(),
        }
    }

    /// Leaves room for `bytes` more; false when another place must be taken for that.
    ///
    /// # Errors
    /// When the file system does not obey.
    pub fn bound(&mut self, bytes: u64) -> io::Result<bool> {
        match &mut self.0 {
            Kind::Hard(Some(disk), _) if disk.fits(bytes) => disk.bound(bytes).map(|()| true),
            Kind::Hard(..) => Ok(false),
            Kind::Watched(_) => Ok(true),
        }
    }

    /// Takes note that the workspace was removed: the next may have the place.
    pub fn vacate(mut self) {
        match &mut self.0 {
            Kind::Hard(disk, disks) => {
                if let Some(disk) = disk.take() {
                    disks.give_back(disk);
                }
            }
            Kind::Watched(_) => {}
        }
    }
}
