//! The source files that an execution would run, found by following imports from the script. Holds what each of them
//! says, and where their names come from.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::gather::{Extent, Gather, Naming};
use super::hashes::{Remembered, Stamp, hash_file};
use super::ignored::Strictness;
use super::modules::{Located, locate};
use super::place::{absolute, portable};
use super::scan::{Expr, Import, SCAN_BYTES_MAX, Scan, scan};
use super::{DiscoveryError, Reason, SourceLine, ThirdPartyImport, standard_library};

/// Source files that are followed from one script.
const SOURCES_MAX: usize = 20_000;

/// All that is known of the sources so far.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    scans: BTreeMap<PathBuf, Rc<Scan>>,
    waiting: VecDeque<PathBuf>,
    seen: HashSet<PathBuf>,
    /// Where Python looks for modules.
    module_folders: Vec<PathBuf>,
    /// (file, name bound there) -> the module file it stands for, and the name in it unless it is the module itself.
    origins: HashMap<(PathBuf, String), (PathBuf, Option<String>)>,
    /// Imports that led to no local file.
    unresolved: Vec<(PathBuf, Import)>,
    /// What was found along those, by dotted name: most sources import the same.
    located: HashMap<String, Rc<Located>>,
    /// Sources whose mentions were looked at.
    pub(crate) looked_at: HashSet<PathBuf>,
    /// Texts that were looked up as paths, and whether something is there.
    pub(crate) texts_seen: HashMap<String, bool>,
}

impl Sources {
    pub(crate) fn new(first_on_path: PathBuf) -> Self {
        Self { module_folders: vec![first_on_path], ..Self::default() }
    }

    /// One source, and what it says.
    pub(crate) fn of_one(file: PathBuf, scan: Scan) -> Self {
        Self { scans: BTreeMap::from([(file, Rc::new(scan))]), ..Self::default() }
    }

    /// Follows this source file, too.
    pub(crate) fn follow(&mut self, file: PathBuf) {
        if self.seen.len() < SOURCES_MAX && self.seen.insert(file.clone()) {
            self.waiting.push_back(file);
        }
    }

    /// Follows a source file that is run as a script of its own: Python looks for its modules beside it.
    pub(crate) fn follow_script(&mut self, file: PathBuf) {
        if let Some(folder) = file.parent() {
            self.add_module_folder(folder.to_owned());
        }
        self.follow(file);
    }

    fn add_module_folder(&mut self, folder: PathBuf) {
        if !self.module_folders.contains(&folder) && folder.is_dir() {
            self.module_folders.push(folder);
            self.located.clear();
            // What was not found before may lie there.
            for (file, _) in std::mem::take(&mut self.unresolved) {
                if !self.waiting.contains(&file) {
                    self.waiting.push_back(file);
                }
            }
        }
    }

    /// Looks for modules in these folders, too; true when one of them is new.
    pub(crate) fn add_module_folders(&mut self, folders: &[String], cwd: &Path) -> bool {
        let before = self.module_folders.len();
        for folder in folders {
            self.add_module_folder(absolute(cwd, Path::new(folder)));
        }
        self.module_folders.len() > before
    }

    /// True when a source waits to be read.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The sources that were read, with what they say.
    pub(crate) fn scans(&self) -> Vec<(PathBuf, Rc<Scan>)> {
        self.scans.iter().map(|(file, scan)| (file.clone(), Rc::clone(scan))).collect()
    }

    pub(crate) fn bindings(&self, file: &Path, name: &str) -> &[Expr] {
        self.scans.get(file).and_then(|scan| scan.bindings.get(name)).map_or(&[], Vec::as_slice)
    }

    /// Where `name`, or `object.name`, comes from when it comes from another local module.
    pub(crate) fn imported(
        &self,
        file: &Path,
        object: Option<&str>,
        name: &str,
    ) -> Option<(PathBuf, String)> {
        let origin = |name: &str| self.origins.get(&(file.to_owned(), name.to_owned()));
        match object {
            None => match origin(name)? {
                (module, Some(there)) => Some((module.clone(), there.clone())),
                (_, None) => None,
            },
            Some(object) => match origin(object)? {
                (module, None) => Some((module.clone(), name.to_owned())),
                // A class or an object of another module: its attributes are bound there.
                (module, Some(_)) => Some((module.clone(), name.to_owned())),
            },
        }
    }

    /// Reads every waiting source, takes the local modules that it imports, and follows them.
    pub(crate) fn read_waiting(
        &mut self,
        gather: &mut Gather,
        remembered: &mut Remembered,
    ) -> Result<bool, DiscoveryError> {
        let mut read_any = false;
        while let Some(file) = self.waiting.pop_front() {
            read_any = true;
            let scan = match self.scans.get(&file) {
                Some(scan) => Rc::clone(scan),
                // A source that cannot be read is a line of `not_sent` already.
                None => Rc::new(read(&file, remembered).unwrap_or_default()),
            };
            for import in &scan.imports {
                self.resolve(&file, import, gather)?;
            }
            self.scans.insert(file, scan);
        }
        Ok(read_any)
    }

    fn resolve(&mut self, file: &Path, import: &Import, gather: &mut Gather) -> Result<(), DiscoveryError> {
        let folders = match import.level {
            0 => Vec::new(),
            level => file.ancestors().nth(level).map(|folder| vec![folder.to_owned()]).unwrap_or_default(),
        };
        let mut located = match import.level {
            0 => self.locate(&import.module),
            _ => Rc::new(locate(&import.module, &folders)),
        };
        // `from . import name` may mean a name that the package itself binds.
        if import.module.is_empty() {
            let package = folders.iter().map(|folder| folder.join("__init__.py"));
            let package: Vec<_> = package.filter(|init| init.is_file()).collect();
            Rc::make_mut(&mut located).sources.extend(package);
        }
        let line = SourceLine { file: portable(file)?, line: import.line };
        // `import a.b` binds `a`; `import a.b as c` binds `a.b` to `c`.
        if let Some((name, stands_for)) = &import.binds
            && let Some(module) = self.locate(stands_for).sources.last()
        {
            self.origins.insert((file.to_owned(), name.clone()), (module.clone(), None));
        }
        let mut is_local = located.is_local();
        self.take(&located, &line, gather)?;
        if located.complete {
            for (there, here) in &import.names {
                let submodule = locate(there, &located.folders);
                if let Some(module) = submodule.sources.last() {
                    self.origins.insert((file.to_owned(), here.clone()), (module.clone(), None));
                    is_local = true;
                    // Part of a package that travels already, or of a namespace of which only this is wanted.
                    self.take(&submodule, &line, gather)?;
                } else if let Some(module) = located.sources.last() {
                    self.origins
                        .insert((file.to_owned(), here.clone()), (module.clone(), Some(there.clone())));
                }
            }
        }
        if !is_local && import.level == 0 {
            self.unresolved.push((file.to_owned(), import.clone()));
        }
        Ok(())
    }

    /// Where an absolute import of the name leads.
    fn locate(&mut self, module: &str) -> Rc<Located> {
        if let Some(known) = self.located.get(module) {
            return Rc::clone(known);
        }
        let located = Rc::new(locate(module, &self.module_folders));
        self.located.insert(module.to_owned(), Rc::clone(&located));
        located
    }

    fn take(
        &mut self,
        located: &Located,
        line: &SourceLine,
        gather: &mut Gather,
    ) -> Result<(), DiscoveryError> {
        let reason = Reason::Imported(line.clone());
        let travels = located.package.iter().chain(&located.sources).chain(&located.compiled);
        for path in travels {
            let top = gather.judged_from(path);
            let naming = Naming { reason: &reason, named: &top, strictness: Strictness::All };
            if gather.add(path, Extent::Whole, naming)?.is_ok() && located.sources.contains(path) {
                self.follow(path.clone());
            }
        }
        Ok(())
    }

    /// Imports that are neither local nor of the standard library, by name.
    pub(crate) fn third_party(&self) -> Result<Vec<ThirdPartyImport>, DiscoveryError> {
        let mut by_name: BTreeMap<String, ThirdPartyImport> = BTreeMap::new();
        for (file, import) in &self.unresolved {
            let name = import.module.split('.').next().unwrap_or_default();
            if name.is_empty() || standard_library::has(name) {
                continue;
            }
            let line = SourceLine { file: portable(file)?, line: import.line };
            let known = by_name.entry(name.to_owned()).or_insert_with(|| ThirdPartyImport {
                module: name.to_owned(),
                imported_at: line,
                optional: import.optional,
            });
            known.optional &= import.optional;
        }
        Ok(by_name.into_values().collect())
    }
}

/// What a source says: as remembered by its hash, else by scanning it.
fn read(file: &Path, remembered: &mut Remembered) -> Option<Scan> {
    let metadata = fs::metadata(file).ok().filter(|m| m.is_file() && m.len() <= SCAN_BYTES_MAX)?;
    let stamp = Stamp::of(&metadata);
    let hash = match remembered.hash(file, &stamp) {
        Some(hash) => hash,
        None => {
            let (stamp, hash) = hash_file(file).ok()?;
            remembered.keep_hash(file, stamp, hash);
            hash
        }
    };
    if let Some(known) = remembered.scan(&hash).and_then(|bytes| serde_json::from_slice(bytes).ok()) {
        return Some(known);
    }
    let scanned = scan(&fs::read(file).ok()?);
    if let Ok(bytes) = serde_json::to_vec(&scanned) {
        remembered.keep_scan(hash, bytes);
    }
    Some(scanned)
}
