//! Objects: put, get, delete, behind one interface.

use std::path::PathBuf;

/// Where objects lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectsConfig {
    /// In a folder of this machine.
    Folder(PathBuf),
}

/// The open object store.
#[derive(Debug, Clone)]
pub(crate) struct Objects {}

impl Objects {
    pub(crate) fn open(_config: &ObjectsConfig) -> crate::Result<Self> {
        Ok(Self {})
    }
}
