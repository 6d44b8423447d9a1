//! The world in a file, so that it goes on after a restart: written whole beside it, then put in its place.

use std::io;
use std::path::Path;

use crate::world::World;

/// None when there is no such file yet.
pub(crate) fn read(file: &Path) -> io::Result<Option<World>> {
    match std::fs::read(file) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn keep(file: &Path, world: &World) -> io::Result<()> {
    let aside = file.with_extension("new");
    std::fs::write(&aside, serde_json::to_vec(world)?)?;
    std::fs::rename(&aside, file)
}
