//! Finds the files of local modules as Python's import system would: along a list of folders, packages before modules
//! before bare folders.

use std::path::{Path, PathBuf};

/// Parts of a dotted name that are followed.
const PARTS_MAX: usize = 32;

/// Where a dotted name leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Located {
    /// Files of Python source that an import of it runs, outermost first.
    pub(crate) sources: Vec<PathBuf>,
    /// A compiled module.
    pub(crate) compiled: Option<PathBuf>,
    /// The outermost package with an `__init__.py`: it travels whole.
    pub(crate) package: Option<PathBuf>,
    /// The folders in which submodules are looked for.
    pub(crate) folders: Vec<PathBuf>,
    /// True when every part was found.
    pub(crate) complete: bool,
}

impl Located {
    /// True when at least one file was found.
    pub(crate) fn is_local(&self) -> bool {
        !self.sources.is_empty() || self.compiled.is_some()
    }
}

/// Looks for the dotted name along `folders`.
pub(crate) fn locate(dotted: &str, folders: &[PathBuf]) -> Located {
    let mut located = Located { folders: folders.to_vec(), ..Located::default() };
    for part in dotted.split('.').filter(|part| !part.is_empty()).take(PARTS_MAX) {
        match find(part, &located.folders) {
            Some(Part::Package(folder)) => {
                located.sources.push(folder.join("__init__.py"));
                located.package.get_or_insert_with(|| folder.clone());
                located.folders = vec![folder];
            }
            Some(Part::Module(file)) => {
                located.sources.push(file);
                located.folders.clear();
            }
            Some(Part::Compiled(file)) => {
                located.compiled = Some(file);
                located.folders.clear();
            }
            Some(Part::Bare(bare)) => located.folders = bare,
            None => return located,
        }
    }
    located.complete = true;
    located
}

enum Part {
    Package(PathBuf),
    Module(PathBuf),
    Compiled(PathBuf),
    /// Folders of one name without `__init__.py`: a namespace.
    Bare(Vec<PathBuf>),
}

fn find(name: &str, folders: &[PathBuf]) -> Option<Part> {
    let mut bare = Vec::new();
    for folder in folders {
        let candidate = folder.join(name);
        let is_folder = candidate.is_dir();
        if is_folder && candidate.join("__init__.py").is_file() {
            return Some(Part::Package(candidate));
        }
        if let Some(compiled) = compiled(folder, name) {
            return Some(Part::Compiled(compiled));
        }
        let source = folder.join(format!("{name}.py"));
        if source.is_file() {
            return Some(Part::Module(source));
        }
        if is_folder {
            bare.push(candidate);
        }
    }
    (!bare.is_empty()).then_some(Part::Bare(bare))
}

/// An extension module: `name.so`, `name.abi3.so`, or one for a version of Python.
fn compiled(folder: &Path, name: &str) -> Option<PathBuf> {
    let versions = rgrid_core::runtime::PYTHON_MINOR
        .map(|minor| format!("{name}.cpython-3{minor}-{}-linux-gnu.so", std::env::consts::ARCH));
    let names = [format!("{name}.so"), format!("{name}.abi3.so")];
    names.into_iter().chain(versions).map(|name| folder.join(name)).find(|file| file.is_file())
}
