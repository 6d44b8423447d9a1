//! The packages that a script needs (DESIGN section 6): finds who declares them, locks them with uv for the machine that
//! will run it, and remembers the lock. What travels as plain files is discovery's; building is the runner's.
//!
//! [`find`] starts nothing and looks at no network; a script without packages costs no more than a look at its imports.

mod active;
mod conda;
mod error;
mod indexes;
mod installed;
mod kept;
mod links;
mod local;
mod marker;
mod name;
mod pin;
mod pipfile;
mod poetry;
mod pylock;
mod requirements;
mod resolver;
mod search;
mod torch;
mod unsolved;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rgrid_core::dependencies::LOCK_PATH;
use rgrid_core::submission::{Program, Sha256};
use sha2::Digest as _;

use crate::discovery::interpreter::{Interpreter, Source};
use crate::discovery::{Discovery, Reason, is_of_standard_library};
use crate::pins;
pub(crate) use error::DependencyError;
use indexes::Settings;
use kept::Kept;
pub(crate) use local::is_imported;
use marker::Platform;
use search::{Declared, Resolve, Way};

/// A lock of another tool is no longer than this.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// Everything that decides which packages a script gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Where the script is.
    pub place: pins::Place<'a>,
    /// What was found of it.
    pub discovery: &'a Discovery,
    /// The Python that the person has.
    pub interpreter: Option<&'a Interpreter>,
    /// Of the Python that will run it, 3.`minor`.
    pub minor: u8,
    /// The grid of this machine runs it.
    pub embedded: bool,
    /// The person's own Python runs it, with all that is installed there.
    pub in_place: bool,
    /// `--requirements`, absolute.
    pub requirements: &'a [PathBuf],
    /// Where locks are remembered; `None` remembers nothing.
    pub cache_folder: Option<&'a Path>,
    /// A remembered lock does not count.
    pub upgrade: bool,
}

/// What a script needs.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing beyond its interpreter.
    Nothing,
    /// The person's own environment has all of it, but for these folders and files, which lie elsewhere.
    InPlace { travels: Vec<PathBuf> },
    /// It has to be locked.
    Wanted(Box<Wanted>),
}

/// What is to be locked.
#[derive(Debug)]
pub(crate) struct Wanted {
    declared: Declared,
    platform: Platform,
    settings: Settings,
    /// Whose settings these are.
    folder: PathBuf,
    python: Option<(PathBuf, u8)>,
    cache_folder: Option<PathBuf>,
    upgrade: bool,
}

/// A local package that a lock installs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LocalPackage {
    pub path: PathBuf,
    pub editable: bool,
    /// What of it travels.
    pub travels: Vec<PathBuf>,
}

/// A lock, ready to travel.
#[derive(Debug, Clone)]
pub(crate) struct Lock {
    /// Who declares the packages, for people.
    pub source: String,
    /// The requirements file.
    pub text: String,
    /// Versions by name, for people.
    pub packages: BTreeMap<String, String>,
    pub local: Vec<LocalPackage>,
    /// `name:password` by the address of an index.
    pub credentials: BTreeMap<String, String>,
    /// Sentences for the person.
    pub warnings: Vec<String>,
}

impl Lock {
    /// The one line that names its source.
    pub(crate) fn sentence(&self) -> String {
        format!("packages from {} ({}, locked)", self.source, self.packages.len())
    }
}

/// Finds what a script needs.
pub(crate) fn find(request: &Request<'_>) -> Result<Found, DependencyError> {
    let platform = match request.embedded {
        true => Platform::of_this_machine(request.minor),
        false => Platform::of_workers(request.minor),
    };
    let modules = modules(request.discovery);
    let declared = match search::said_outright(request.place, request.requirements, &platform)? {
        Some(declared) => Some(declared),
        // Who imports nothing gets nothing, whatever the project is made of.
        None if modules.is_empty() => return Ok(Found::Nothing),
        None => search::of_project(request.place, &platform)?,
    };
    let declared = match declared {
        Some(declared) => declared,
        None => match of_environment(request, &modules) {
            Undeclared::Nothing => return Ok(Found::Nothing),
            Undeclared::InPlace { travels } => return Ok(Found::InPlace { travels }),
            Undeclared::Declared(declared) => declared,
        },
    };
    let folder = match &declared.way {
        Way::Resolve(resolve) => resolve.folder.clone(),
        Way::ExportProject { folder } => folder.clone(),
        Way::ExportScript { script } => script.parent().unwrap_or(Path::new("/")).to_owned(),
        Way::Locked { .. } => request.place.folder.to_owned(),
    };
    Ok(Found::Wanted(Box::new(Wanted {
        declared,
        platform,
        settings: Settings::look(&folder),
        folder,
        python: request.interpreter.map(|found| (found.path.clone(), found.minor)),
        cache_folder: request.cache_folder.map(Path::to_owned),
        upgrade: request.upgrade,
    })))
}

/// Which uv locks, as far as that is known without starting it: the one on PATH as its file is now, else the one that this
/// version brings.
fn uv_here() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("uv")).find_map(|file| {
        Some((file.canonicalize().ok()?, file.metadata().ok().filter(|found| found.is_file())?))
    });
    match found {
        Some((file, metadata)) => {
            format!("{} {} {}", file.display(), metadata.len(), crate::upload::modified_ns(&metadata))
        }
        None => format!("rgrid {}", env!("CARGO_PKG_VERSION")),
    }
}

/// Modules that must be installed. Those that the script may do without count only where they are installed.
fn modules(discovery: &Discovery) -> Vec<(String, bool)> {
    let mut modules: Vec<_> =
        discovery.third_party_imports.iter().map(|found| (found.module.clone(), found.optional)).collect();
    // `-m pytest` runs what is installed.
    let is_here = discovery.inputs.iter().any(|found| found.reason == Reason::Program);
    if let Program::Module(name) = &discovery.program
        && let Some(first) = name.split('.').next()
        && !is_here
        && !is_of_standard_library(first)
    {
        modules.push((first.to_owned(), false));
    }
    modules
}

enum Undeclared {
    Nothing,
    InPlace { travels: Vec<PathBuf> },
    Declared(Declared),
}

/// Nobody declares packages: the environment that the script would run in here has them.
fn of_environment(request: &Request<'_>, modules: &[(String, bool)]) -> Undeclared {
    let all: Vec<String> = modules.iter().map(|(module, _)| module.clone()).collect();
    let needed = || modules.iter().filter(|(_, optional)| !optional).map(|(module, _)| module.clone());
    let declared = |source: String, resolve: Resolve, key: Vec<String>, warnings: Vec<String>| {
        let resolve = Resolve { folder: request.place.folder.to_owned(), ..resolve };
        if resolve.wanted.is_empty() {
            return Undeclared::Nothing;
        }
        Undeclared::Declared(Declared { source, way: Way::Resolve(resolve), key, warnings })
    };
    let Some(interpreter) = request.interpreter else {
        let wanted = active::guess(&needed().collect::<Vec<_>>());
        let warning = format!("no Python was found here: the newest of {} is taken", wanted.join(", "));
        return declared(
            "the imports".to_owned(),
            Resolve { wanted, ..Resolve::default() },
            Vec::new(),
            vec![warning],
        );
    };
    let folders = installed::folders(interpreter);
    let installed = installed::look(&folders, request.cache_folder);
    let mut chosen = active::choose(&all, &installed);
    if request.in_place {
        let packages = chosen.editable.iter().flat_map(|folder| local::travelling(folder));
        let travels = packages.chain(chosen.loose).collect();
        return Undeclared::InPlace { travels };
    }
    let projects: BTreeSet<PathBuf> =
        chosen.loose.iter().filter_map(|module| local::project_of(module)).collect();
    chosen.wanted.extend(projects.iter().map(|folder| format!("-e {}", folder.display())));
    let source = match &interpreter.source {
        Source::VirtualEnv | Source::DotVenv(_) | Source::Conda => {
            format!("the environment {}", interpreter.prefix.display())
        }
        Source::Path => format!("{}, as installed there", interpreter.path.display()),
    };
    let resolve = Resolve {
        wanted: chosen.wanted,
        constraints: chosen.constraints,
        yields: true,
        ..Resolve::default()
    };
    declared(source, resolve, Vec::new(), Vec::new())
}

impl Wanted {
    /// Who declares the packages, for people.
    pub(crate) fn source(&self) -> &str {
        &self.declared.source
    }

    /// What paths in the resolver's answer are relative to.
    fn base(&self) -> PathBuf {
        match &self.declared.way {
            Way::Resolve(resolve) => resolve.folder.clone(),
            Way::ExportProject { .. } | Way::ExportScript { .. } | Way::Locked { .. } => PathBuf::from("/"),
        }
    }

    fn key(&self) -> String {
        let parts = [
            format!("{:?}", self.declared.way),
            self.declared.key.join("\0"),
            format!("{:?}", self.platform),
            format!("{:?}", self.python.as_ref().map(|(_, minor)| minor)),
            self.settings.fingerprint.clone(),
            uv_here(),
        ];
        parts.join("\0")
    }

    /// The remembered lock, unless it is too old, or something that it was made from has changed.
    pub(crate) fn kept(&self) -> Option<Lock> {
        if self.upgrade {
            return None;
        }
        let kept = Kept::load(self.cache_folder.as_deref()?, &self.key())?;
        kept.is_fresh().then(|| self.lock_of(kept))
    }

    /// The remembered lock, however old.
    pub(crate) fn outdated(&self) -> Option<Lock> {
        let kept = Kept::load(self.cache_folder.as_deref()?, &self.key())?;
        kept.is_unchanged().then(|| self.lock_of(kept))
    }

    fn lock_of(&self, kept: Kept) -> Lock {
        let (_, places) = pin::read(&kept.text, Path::new("/"));
        let local = kept.local.into_iter().map(|(path, editable, _)| {
            let travels = local::travelling(&path);
            LocalPackage { path, editable, travels }
        });
        let mut warnings = self.declared.warnings.clone();
        warnings.extend(kept.warnings);
        Lock {
            source: self.declared.source.clone(),
            packages: kept.packages,
            local: local.collect(),
            credentials: self.settings.credentials(&places),
            text: kept.text,
            warnings,
        }
    }

    /// Locks anew, and remembers it.
    pub(crate) async fn lock(&self, uv: &Path) -> Result<Lock, DependencyError> {
        let resolver = resolver::Resolver {
            uv,
            python: self.python.as_ref().map(|(path, _)| path.as_path()),
            platform: &self.platform,
            settings: &self.settings,
            folder: &self.folder,
            source: &self.declared.source,
            upgrade: self.upgrade,
        };
        let resolved = resolver.resolve(&self.declared.way).await?;
        let (mut places, credentials) = indexes::split(self.settings.preferred(resolved.places));
        let mut words = BTreeMap::new();
        let pins: Vec<pin::Pin> = pin::wanted_on(resolved.pins, &self.platform)
            .into_iter()
            .map(|pin| without_words(named(pin), &mut words))
            .collect();
        // Who asks for a name and a password that stand in a declaration, and in no settings, is told them by resolving
        // again: they are written nowhere.
        let known = self.settings.credentials(&places);
        let comes_again = words.is_empty() && credentials.iter().all(|(url, _)| known.contains_key(url));
        let archives = links::travelling(&mut places, &pins, &self.base());
        let local = pins.iter().filter_map(|pin| match &pin.origin {
            pin::Origin::Local { path, editable } => Some((path.clone(), *editable, local::state(path))),
            pin::Origin::Index { .. } | pin::Origin::Url { .. } => None,
        });
        let local = local.chain(archives.into_iter().map(|path| {
            let state = local::state(&path);
            (path, false, state)
        }));
        let kept = Kept {
            made_ns: kept::now_ns(),
            text: pin::text(&pins, &places),
            packages: pin::listing(&pins),
            local: local.collect(),
            warnings: resolved.warnings,
        };
        if let Some(folder) = self.cache_folder.as_ref().filter(|_| comes_again) {
            kept.save(folder, &self.key());
        }
        let mut lock = self.lock_of(kept);
        for (url, found) in credentials.into_iter().chain(words) {
            lock.credentials.entry(url).or_insert(found);
        }
        Ok(lock)
    }
}

/// A package at an address of its own, without the name and password that may stand in it: these go into `words`, by the
/// host.
fn without_words(mut pin: pin::Pin, words: &mut BTreeMap<String, String>) -> pin::Pin {
    if let pin::Origin::Url { url, .. } = &mut pin.origin {
        let by_http = url.split_once("://").is_some_and(|(scheme, _)| {
            scheme.trim_start_matches("git+").trim_start_matches("hg+").starts_with("http")
        });
        let (clean, found) = indexes::without_credentials(url);
        if by_http && clean != *url {
            let address = &clean[clean.find("http").unwrap_or(0)..];
            let host_at = address.find("://").map_or(0, |at| at + 3);
            let host_end = address[host_at..].find('/').map_or(address.len(), |at| host_at + at);
            // Everybody's name at hosts of git: no secret.
            if let Some(found) = found.filter(|found| found != "git") {
                words.insert(address[..host_end].to_owned(), found);
            }
            *url = clean;
        }
    }
    pin
}

/// A local package that the resolver did not name is asked for its name.
fn named(mut pin: pin::Pin) -> pin::Pin {
    if let pin::Origin::Local { path, .. } = &pin.origin
        && pin.name.is_empty()
    {
        pin.name = local::name_of(path).unwrap_or_default();
    }
    pin
}

/// Hash of what a person's own Python is: another one after each change of its program, and with `packages` after each
/// time that something was installed or removed.
pub(crate) fn state_of(interpreter: &Interpreter, packages: bool) -> Sha256 {
    let mut hash = sha2::Sha256::new_with_prefix(interpreter.fingerprint());
    let folders = if packages { installed::folders(interpreter) } else { Vec::new() };
    hash.update(format!("{:?}", installed::state(&folders)));
    Sha256(hash.finalize().into())
}

/// Where the lock lies in the workspace.
pub(crate) fn lock_path() -> rgrid_core::path::AbsolutePath {
    LOCK_PATH.parse().expect("the constant is an absolute path")
}

/// A lock's bytes in a file, so that they can be sent: named by their hash, and the same for the same lock.
pub(crate) fn write_lock(
    text: &str,
    sha256: &str,
    cache_folder: Option<&Path>,
) -> Result<PathBuf, DependencyError> {
    let folder = cache_folder.map_or_else(std::env::temp_dir, |folder| folder.join("locks"));
    let path = folder.join(format!("{sha256}.txt"));
    kept::write(&path, text.as_bytes())
        .map_err(|source| DependencyError::Unwritable { path: path.clone(), source })?;
    Ok(path)
}

/// A file's bytes, unless it is larger than it may be.
fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, DependencyError> {
    let unreadable = |source| DependencyError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        let problem = format!("it is larger than {bytes_max} bytes");
        return Err(DependencyError::Malformed { path: path.to_owned(), problem });
    }
    Ok(bytes)
}

fn read_text(path: &Path) -> Result<String, DependencyError> {
    Ok(String::from_utf8_lossy(&read_file(path, TEXT_BYTES_MAX)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lock_holds_the_password_of_an_address() {
        let check = |url: &str| {
            let mut words = BTreeMap::new();
            let origin = pin::Origin::Url { url: url.to_owned(), hashes: Default::default() };
            let pin = without_words(pin::Pin { name: "x".to_owned(), origin, marker: None }, &mut words);
            (pin::text(&[pin], &pin::Places::default()), words.into_iter().collect::<Vec<_>>())
        };
        let cut = |host: &str, word: &str| vec![(host.to_owned(), word.to_owned())];
        let (text, words) = check("https://me:hunter22@h.example/x-1.whl");
        assert!(text.contains("x @ https://h.example/x-1.whl") && !text.contains("hunter22"), "{text}");
        assert_eq!(words, cut("https://h.example", "me:hunter22"));
        let (text, words) = check("git+https://token9@h.example/x.git@v1");
        assert!(text.contains("git+https://h.example/x.git@v1") && !text.contains("token9"), "{text}");
        assert_eq!(words, cut("https://h.example", "token9"));
        let (text, words) = check("git+ssh://git@h.example/x.git@v1");
        assert!(text.contains("git+ssh://git@h.example/x.git@v1"), "{text}");
        assert_eq!(words, []);
    }
}
