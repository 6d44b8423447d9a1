//! Runs uv. What it is given and what is made of its words is decided elsewhere; here it is started, and tried again
//! where a version or an index that nobody insists on stood in its way.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::error::DependencyError;
use super::indexes::{Settings, censored};
use super::marker::Platform;
use super::pin::{self, Pin, Places};
use super::pylock;
use super::search::{Resolve, Way};
use super::torch;
use super::unsolved::{Failure, failure};

/// A resolution takes at most this: some packages must be built to say what they need.
const DEADLINE: Duration = Duration::from_secs(600);
/// Versions of an environment that give way to the nearest ones, before it is given up.
const YIELDS_MAX: usize = 12;
/// What is shown of uv's words.
const WORDS_LINES_MAX: usize = 30;

/// uv, and what it works for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver<'a> {
    pub uv: &'a Path,
    /// The person's own Python, which builds what must be built.
    pub python: Option<&'a Path>,
    pub platform: &'a Platform,
    pub settings: &'a Settings,
    /// Whose settings these are.
    pub folder: &'a Path,
    /// Who declares the packages, for people.
    pub source: &'a str,
    pub upgrade: bool,
}

/// What came out.
#[derive(Debug, Clone, Default)]
pub(super) struct Resolved {
    pub pins: Vec<Pin>,
    pub places: Places,
    pub warnings: Vec<String>,
}

/// How one start of uv ended.
enum Ended {
    Well(String),
    Badly { words: String },
}

/// What a lock has without some of its packages, and what only these ask for.
enum Left<'a> {
    Names(&'a BTreeSet<String>),
    /// uv exports it with these words.
    Export(&'a [&'a str]),
}

impl Resolver<'_> {
    pub(super) async fn resolve(&self, way: &Way) -> Result<Resolved, DependencyError> {
        match way {
            Way::Resolve(asked) if asked.yields => self.yielding(asked).await,
            Way::Resolve(asked) => match self.compile(asked, &[]).await? {
                Ok(resolved) => Ok(resolved),
                Err(words) => Err(self.failed(words)),
            },
            Way::ExportProject { folder } => {
                let folder = folder.to_string_lossy();
                self.exported(&["--project", &folder, "--frozen"]).await
            }
            Way::ExportScript { script } => {
                let mut lock = script.as_os_str().to_owned();
                lock.push(".lock");
                let script = script.to_string_lossy();
                let frozen = if Path::new(&lock).is_file() { Some("--frozen") } else { None };
                let words: Vec<&str> = ["--script", &script].into_iter().chain(frozen).collect();
                self.exported(&words).await
            }
            Way::Locked { pins, places, left } => {
                let lock = Resolved { pins: pins.clone(), places: places.clone(), warnings: Vec::new() };
                Ok(self.without_gpus(lock, Left::Names(left)).await)
            }
        }
    }

    /// uv's own lock, with torch for machines without a GPU.
    async fn exported(&self, of: &[&str]) -> Result<Resolved, DependencyError> {
        let lock = self.export(of).await?;
        Ok(self.without_gpus(lock, Left::Export(of)).await)
    }

    /// A lock with torch for machines without a GPU, where that can be had.
    async fn without_gpus(&self, mut lock: Resolved, left: Left<'_>) -> Resolved {
        let members = torch::members(&lock.pins, self.platform);
        if members.is_empty() {
            return lock;
        }
        match self.torch_without_gpus(&lock, &members, left).await {
            Ok((found, left)) => torch::exchanged(lock, &members, &left, found, self.platform),
            Err(words) => {
                lock.warnings.push(torch::kept_as_it_is(&members, &shortened(&words)));
                lock
            }
        }
    }

    /// What torch without GPUs comes to, and what the lock has without torch; else uv's words.
    async fn torch_without_gpus(
        &self,
        lock: &Resolved,
        members: &[Pin],
        left: Left<'_>,
    ) -> Result<(Resolved, BTreeSet<String>), String> {
        let asked = torch::question(lock, members, self.platform, self.folder);
        // The versions are settled: every index may have them, as for the worker that installs them.
        let more = [torch::BACKEND.as_slice(), &["--index-strategy", "unsafe-best-match"]].concat();
        let found = self.compile_once(&asked, &[], &more).await.map_err(told)??;
        let left = match left {
            Left::Names(names) => names.clone(),
            Left::Export(of) => {
                let pruned = members.iter().flat_map(|pin| ["--prune", &pin.name]);
                let words: Vec<&str> = of.iter().copied().chain(pruned).collect();
                let left = self.export(&words).await.map_err(told)?;
                torch::names(&pin::wanted_on(left.pins, self.platform))
            }
        };
        Ok((found, left))
    }

    /// Resolves the versions of an environment: one that the index lacks becomes the nearest, and what its metadata
    /// forbids is taken as it is installed.
    async fn yielding(&self, asked: &Resolve) -> Result<Resolved, DependencyError> {
        let mut asked = torch::without_gpu(asked);
        let mut warnings = Vec::new();
        for _ in 0..YIELDS_MAX {
            let words = match self.compile(&asked, &[]).await? {
                Ok(mut resolved) => {
                    warnings.append(&mut resolved.warnings);
                    return Ok(Resolved { warnings, ..resolved });
                }
                Err(words) => words,
            };
            match failure(&words) {
                Failure::Unsolvable { missing: Some((name, version)) } => {
                    let nearest = self.nearest(&name, &version, &asked).await?;
                    let Some(nearest) = nearest else { return Err(self.failed(words)) };
                    warnings.push(format!(
                        "the index lacks {name} {version}, which is installed here: {nearest} is taken"
                    ));
                    let (old, new) = (format!("{name}=={version}"), format!("{name}=={nearest}"));
                    for line in
                        asked.wanted.iter_mut().chain(&mut asked.constraints).filter(|line| **line == old)
                    {
                        line.clone_from(&new);
                    }
                }
                Failure::Unsolvable { missing: None } => {
                    // They do work together here, whatever their metadata says.
                    let is_pin = |line: &&String| !line.starts_with("-e ") && line.contains("==");
                    let pins: Vec<_> =
                        asked.wanted.iter().chain(&asked.constraints).filter(is_pin).cloned().collect();
                    return match self.compile(&asked, &pins).await? {
                        Ok(mut resolved) => {
                            resolved.warnings.splice(0..0, warnings);
                            Ok(resolved)
                        }
                        Err(_) => Err(self.failed(words)),
                    };
                }
                Failure::Unreachable { .. } | Failure::Other => return Err(self.failed(words)),
            }
        }
        let words = warnings.join("\n");
        Err(DependencyError::Unsolvable { source_of: self.source.to_owned(), words })
    }

    /// The nearest version that the index has: the next newer one, else the newest older one.
    async fn nearest(
        &self,
        name: &str,
        version: &str,
        asked: &Resolve,
    ) -> Result<Option<String>, DependencyError> {
        for (sign, choice) in [(">=", "lowest"), ("<", "highest")] {
            let one = Resolve {
                wanted: vec![format!("{name}{sign}{version}")],
                options: asked.options.clone(),
                folder: asked.folder.clone(),
                ..Resolve::default()
            };
            let more = ["--no-deps", "--resolution", choice];
            if let Ok(found) = self.compile_once(&one, &[], &more).await? {
                return Ok(found.pins.first().map(Pin::shown_version));
            }
        }
        Ok(None)
    }

    /// Resolves, with torch for machines without a GPU where that can be had.
    async fn compile(
        &self,
        asked: &Resolve,
        overrides: &[String],
    ) -> Result<Result<Resolved, String>, DependencyError> {
        let without_gpu = torch::without_gpu(asked);
        let resolved = self.compile_once(&without_gpu, overrides, &torch::BACKEND).await?;
        match &resolved {
            Err(words) if failure(words) == (Failure::Unreachable { of_torch: true }) => {
                let mut resolved = self.compile_once(asked, overrides, &[]).await?;
                if let Ok(resolved) = &mut resolved {
                    resolved.warnings.push(torch::unanswered("your index"));
                }
                Ok(resolved)
            }
            Ok(_) | Err(_) => Ok(resolved),
        }
    }

    async fn compile_once(
        &self,
        asked: &Resolve,
        overrides: &[String],
        more: &[&str],
    ) -> Result<Result<Resolved, String>, DependencyError> {
        let temporary = |source| DependencyError::Unwritable { path: std::env::temp_dir(), source };
        let folder = tempfile::tempdir().map_err(temporary)?;
        let write = |name: &str, lines: &[String]| {
            let path = folder.path().join(name);
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            std::fs::write(&path, text).map(|()| path.to_string_lossy().into_owned()).map_err(temporary)
        };
        let options: Vec<_> = asked.options.iter().filter(|line| *line != PRERELEASES).cloned().collect();
        let mut words: Vec<String> = COMPILE.map(str::to_owned).to_vec();
        let version = format!("3.{}", self.platform.python_minor);
        words.extend(["--python-version".to_owned(), version]);
        words.extend(
            self.platform
                .target()
                .into_iter()
                .flat_map(|target| ["--python-platform", target].map(str::to_owned)),
        );
        words.push(write("requirements.in", &[options.as_slice(), &asked.wanted].concat())?);
        words.extend(asked.project.iter().map(|project| project.to_string_lossy().into_owned()));
        if !asked.constraints.is_empty() {
            words.extend(["-c".to_owned(), write("constraints.txt", &asked.constraints)?]);
        }
        if !overrides.is_empty() {
            words.extend(["--overrides".to_owned(), write("overrides.txt", overrides)?]);
        }
        if options.len() < asked.options.len() {
            words.extend(["--prerelease", "allow"].map(str::to_owned));
        }
        words.extend(self.upgrade.then(|| "--refresh".to_owned()));
        words.extend(more.iter().map(|&word| word.to_owned()));
        Ok(match self.start(&words, &asked.folder).await? {
            Ended::Well(text) => {
                let (pins, places) = pin::read(&text, &asked.folder);
                Ok(Resolved { pins, places, warnings: Vec::new() })
            }
            Ended::Badly { words } => Err(words),
        })
    }

    /// The lock that uv has, or makes, of a project or a script. Paths are relative to where uv is started.
    async fn export(&self, of: &[&str]) -> Result<Resolved, DependencyError> {
        let words: Vec<String> = EXPORT.iter().chain(of).map(|&word| word.to_owned()).collect();
        match self.start(&words, Path::new("/")).await? {
            Ended::Well(text) => {
                let (pins, places) = pylock::read(&text, Path::new("/"), &BTreeSet::new())
                    .map_err(|problem| DependencyError::Resolver { words: problem })?;
                Ok(Resolved { pins, places, warnings: Vec::new() })
            }
            Ended::Badly { words } => Err(self.failed(words)),
        }
    }

    async fn start(&self, words: &[String], folder: &Path) -> Result<Ended, DependencyError> {
        let failed = |words: String| DependencyError::Resolver { words };
        let mut command = Command::new(self.uv);
        command
            .args(words)
            .current_dir(folder)
            .envs(self.settings.variables.iter().map(|(name, value)| (*name, value)));
        if let Some(python) = self.python {
            // Nothing is fetched to lock with: the person's own Python does.
            command.arg("--python").arg(python).env("UV_PYTHON_DOWNLOADS", "never");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let ended = tokio::time::timeout(DEADLINE, command.output()).await;
        let output = ended
            .map_err(|_| failed(format!("it did not end within {} s", DEADLINE.as_secs())))?
            .map_err(|error| failed(format!("{}: {error}", self.uv.display())))?;
        if output.status.success() {
            return Ok(Ended::Well(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        Ok(Ended::Badly { words: censored(&String::from_utf8_lossy(&output.stderr)) })
    }

    fn failed(&self, words: String) -> DependencyError {
        let meaning = failure(&words);
        let source_of = self.source.to_owned();
        let words = shortened(&words);
        match meaning {
            Failure::Unreachable { .. } => DependencyError::Unreachable { source_of, words },
            Failure::Unsolvable { .. } => DependencyError::Unsolvable { source_of, words },
            Failure::Other => DependencyError::Resolver { words },
        }
    }
}

/// As much of uv's words as a person is shown.
fn shortened(words: &str) -> String {
    let lines = words.lines().filter(|line| !line.trim().is_empty()).take(WORDS_LINES_MAX);
    lines.map(|line| line.trim_start_matches("error: ")).collect::<Vec<_>>().join("\n")
}

/// Why uv did not answer, in its words where there are some.
fn told(error: DependencyError) -> String {
    match error {
        DependencyError::Unsolvable { words, .. }
        | DependencyError::Unreachable { words, .. }
        | DependencyError::Resolver { words } => words,
        DependencyError::Unreadable { .. }
        | DependencyError::Malformed { .. }
        | DependencyError::Unwritable { .. } => error.to_string(),
    }
}

/// The line by which a requirements file asks for versions that are not out yet.
pub(super) const PRERELEASES: &str = "--pre";

/// How versions are chosen.
const COMPILE: [&str; 11] = [
    "pip",
    "compile",
    "--quiet",
    "--color=never",
    "--no-progress",
    "--no-header",
    "--no-annotate",
    "--generate-hashes",
    "--emit-index-url",
    "--emit-find-links",
    "--emit-index-annotation",
];

/// How uv's own lock is read.
const EXPORT: [&str; 6] =
    ["export", "--quiet", "--color=never", "--no-progress", "--no-header", "--format=pylock.toml"];
