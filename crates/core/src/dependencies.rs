//! What must be installed before a script starts: a lock that travels among the inputs, and what of the user's own
//! machine it installs.

use std::collections::BTreeMap;

use crate::limits;
use crate::path::AbsolutePath;
use crate::submission::{Input, InputKind, Refusal};

/// Where the lock lies in the workspace, below the folder that holds the environment.
pub const LOCK_PATH: &str = "/rgrid/requirements.txt";

/// Where the environment lies in every sandbox: paths inside of it name this place.
pub const ENVIRONMENT_PATH: &str = "/rgrid/env";

/// The public index of Python packages: asked where nobody names another.
pub const PUBLIC_INDEX: &str = "https://pypi.org/simple";

/// Local packages, and indexes with credentials, that one submission may name.
pub const NAMED_MAX: usize = 100;

/// The packages of one execution, locked.
#[derive(Clone, PartialEq, Eq)]
pub struct Dependencies {
    /// Where they were declared, for people: `the PEP 723 block of x.py`.
    pub source: String,
    /// The lock, which is among the inputs: a requirements file with every version and its hashes, and the addresses of
    /// the indexes without their credentials.
    pub lock: AbsolutePath,
    /// What the lock installs from the user's own machine.
    pub local: Vec<LocalPackage>,
    /// `user:password` by the address of an index. Secret.
    pub credentials: BTreeMap<String, String>,
}

impl std::fmt::Debug for Dependencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dependencies")
            .field("source", &self.source)
            .field("lock", &self.lock)
            .field("local", &self.local)
            .field("credentials", &self.credentials.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// A package, a folder of one, or an archive that lies among the inputs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalPackage {
    /// Where: the inputs at or below it are what is installed.
    pub path: AbsolutePath,
    /// Its modules stay where they are; only what describes and builds it belongs to the environment.
    pub editable: bool,
}

/// Files that decide what an editable package puts into the environment; its modules do not.
pub const BUILD_FILES: [&str; 4] = ["pyproject.toml", "setup.py", "setup.cfg", "MANIFEST.in"];

impl LocalPackage {
    /// True when a change of the file at `path` makes another environment.
    #[must_use]
    pub fn is_built_from(&self, path: &AbsolutePath) -> bool {
        path.is_within(&self.path)
            && (!self.editable
                || path.parent().as_ref() == Some(&self.path) && BUILD_FILES.contains(&path.name()))
    }
}

impl Dependencies {
    /// Checks what can be known without the grid's state: the lock is there, and so is what it installs from.
    pub(crate) fn check(&self, inputs: &[Input]) -> Result<(), Refusal> {
        let refuse = |reason: String| Err(Refusal { field: "dependencies", reason });
        if self.source.len() > limits::METADATA_BYTES_MAX || self.source.contains('\0') {
            return refuse(format!(
                "the source must be a text of at most {} bytes",
                limits::METADATA_BYTES_MAX
            ));
        }
        let is_file = |path: &AbsolutePath| {
            inputs.iter().any(|input| input.path == *path && matches!(input.kind, InputKind::File { .. }))
        };
        if self.lock.as_str() != LOCK_PATH {
            return refuse(format!("the lock must lie at {LOCK_PATH}"));
        }
        if !is_file(&self.lock) {
            return refuse(format!("the lock {LOCK_PATH} is not among the inputs"));
        }
        if self.local.len() > NAMED_MAX || self.credentials.len() > NAMED_MAX {
            return refuse(format!("at most {NAMED_MAX} local packages and {NAMED_MAX} indexes are allowed"));
        }
        for package in &self.local {
            if !inputs.iter().any(|input| input.path.is_within(&package.path)) {
                return refuse(format!("nothing of the local package {} is among the inputs", package.path));
            }
        }
        for (index, credentials) in &self.credentials {
            let is_text =
                |text: &str| text.len() <= limits::VARIABLE_BYTES_MAX && !text.contains(['\0', '\n']);
            if !is_text(index) || !is_text(credentials) {
                return refuse("an index or its credentials are no line of text".to_owned());
            }
            if !(index.starts_with("https://") || index.starts_with("http://")) || index.contains('@') {
                return refuse("an index must be an address without credentials in it".to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submission::Sha256;

    fn path(text: &str) -> AbsolutePath {
        text.parse().unwrap()
    }

    fn file(at: &str) -> Input {
        let kind = InputKind::File { sha256: Sha256([0; 32]), size_bytes: 1, mode: 0o644, modified_ns: 0 };
        Input { path: path(at), kind }
    }

    fn wanted() -> Dependencies {
        Dependencies {
            source: "requirements.txt".to_owned(),
            lock: path(LOCK_PATH),
            local: Vec::new(),
            credentials: BTreeMap::new(),
        }
    }

    #[test]
    fn a_lock_must_be_there_and_so_must_what_it_installs_from() {
        let inputs = [file(LOCK_PATH), file("/home/me/p/pyproject.toml")];
        let check = |change: &dyn Fn(&mut Dependencies)| {
            let mut dependencies = wanted();
            change(&mut dependencies);
            dependencies.check(&inputs).map_err(|refusal| refusal.to_string()).err().unwrap_or_default()
        };
        let local = |at: &str| LocalPackage { path: path(at), editable: true };
        let secret = |index: &str| BTreeMap::from([(index.to_owned(), "me:word".to_owned())]);
        assert_eq!(check(&|_| ()), "");
        assert_eq!(check(&|wanted| wanted.local = vec![local("/home/me/p")]), "");
        assert_eq!(check(&|wanted| wanted.credentials = secret("https://index.example/simple")), "");
        assert!(check(&|wanted| wanted.lock = path("/home/me/x")).contains("must lie at"));
        assert!(check(&|wanted| wanted.local = vec![local("/home/me/q")]).contains("/home/me/q"));
        assert!(
            check(&|wanted| wanted.credentials = secret("https://me:word@index.example"))
                .contains("without credentials")
        );
        assert!(check(&|wanted| wanted.source = "x\0".to_owned()).contains("source"));
        assert!(wanted().check(&[]).unwrap_err().to_string().contains("not among the inputs"));
    }

    #[test]
    fn only_what_builds_an_editable_package_decides_its_environment() {
        let package = |editable| LocalPackage { path: path("/p"), editable };
        let built_from = |editable, at: &str| package(editable).is_built_from(&path(at));
        assert!(built_from(true, "/p/pyproject.toml") && built_from(true, "/p/setup.py"));
        assert!(!built_from(true, "/p/src/p/__init__.py") && !built_from(true, "/p/deep/setup.py"));
        assert!(built_from(false, "/p/src/p/__init__.py") && !built_from(false, "/q/setup.py"));
    }

    #[test]
    fn credentials_are_in_no_debug_text() {
        let mut dependencies = wanted();
        dependencies.credentials.insert("https://index.example".to_owned(), "me:hush".to_owned());
        let text = format!("{dependencies:?}");
        assert!(text.contains("https://index.example") && !text.contains("hush"), "{text}");
    }
}
