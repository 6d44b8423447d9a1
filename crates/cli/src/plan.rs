//! What `rgrid run --dry-run` shows: what would travel and why, what would not, and what the script would get.

use std::time::Duration;

use rgrid_api::executions::CreateExecution;
use rgrid_core::limits;
use rgrid_core::quantity::format_duration;
use rgrid_core::submission::InputKind;
use serde_json::json;

use crate::dependencies::Lock;
use crate::discovery::interpreter::{Interpreter, Source};
use crate::discovery::{Discovery, Found, Obstacle, Reason, SourceLine};
use crate::output::size;
use crate::terminal::shown;

/// Everything that a dry run tells.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What was found.
    pub discovery: Discovery,
    /// The Python that the user has here.
    pub interpreter: Option<Interpreter>,
    /// The packages that would be installed.
    pub lock: Option<Lock>,
    /// What would be posted.
    pub body: CreateExecution,
    /// True when the grid of this machine would run it.
    pub embedded: bool,
}

impl Plan {
    /// The files that would travel.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Found> {
        self.discovery.inputs.iter().filter(|found| match found.input.kind {
            InputKind::File { .. } => true,
            InputKind::Folder | InputKind::Symlink { .. } => false,
        })
    }

    fn total_bytes(&self) -> u64 {
        self.files().map(|found| found.size_bytes).sum()
    }

    /// The path as it is shortest: below the project without the project's folder.
    fn short(&self, path: &str) -> String {
        let root = self.discovery.project_root.as_str();
        shown(path.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path))
    }

    fn line(&self, line: &SourceLine) -> String {
        format!("{} line {}", self.short(line.file.as_str()), line.line)
    }

    fn reason(&self, reason: &Reason) -> String {
        match reason {
            Reason::Program => "is the program".to_owned(),
            Reason::Imported(line) => format!("is imported in {}", self.line(line)),
            Reason::Argument { position } => format!("argument {position} names it"),
            Reason::Literal(line) => format!("{} names it", self.line(line)),
            Reason::Input => "--input names it".to_owned(),
            Reason::Include { pattern } => format!("--include {} matches it", shown(pattern)),
            Reason::Package => "packages are installed from it".to_owned(),
            Reason::LinkTarget { link } => format!("the link {} leads to it", self.short(link.as_str())),
        }
    }

    /// As people read it.
    pub(crate) fn to_text(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        let files = crate::output::files(self.files().count() as u64);
        line(format!(
            "would travel: {files} with {}, as far as the grid lacks them",
            size(self.total_bytes())
        ));
        for found in &self.discovery.inputs {
            let amount = match &found.input.kind {
                InputKind::File { size_bytes, .. } => size(*size_bytes),
                InputKind::Folder => "folder".to_owned(),
                InputKind::Symlink { .. } => "link".to_owned(),
            };
            line(format!(
                "  {amount:>9}  {}  ({})",
                self.short(found.input.path.as_str()),
                self.reason(&found.reason)
            ));
        }
        line(String::new());
        line("would not travel:".to_owned());
        for not in &self.discovery.not_sent {
            let path = self.short(&not.path.to_string_lossy());
            line(format!("  {path}  ({}; {})", obstacle(&not.obstacle), self.reason(&not.named_by)));
        }
        line("  everything else, and the environment's variables but for:".to_owned());
        line(format!("    {}", shown(&self.body.environment.keys().cloned().collect::<Vec<_>>().join(" "))));
        line(String::new());
        line("packages:".to_owned());
        for (name, version) in self.locked() {
            line(format!("  {} {}", shown(name), shown(version)));
        }
        if let Some(lock) = &self.lock {
            line(format!("  as locked from {}", shown(&lock.source)));
        } else if self.discovery.third_party_imports.is_empty() {
            line("  none beyond the standard library".to_owned());
        }
        let imports = self.discovery.third_party_imports.iter().filter(|_| self.lock.is_none());
        for import in imports {
            let optional = if import.optional { ", and it may do without" } else { "" };
            line(format!(
                "  {}  (is imported in {}{optional})",
                shown(&import.module),
                self.line(&import.imported_at)
            ));
        }
        line(String::new());
        line("would run:".to_owned());
        for (name, value) in self.surroundings() {
            line(format!("  {name:<16}{value}"));
        }
        line(String::new());
        line("would come back, if the script writes there:".to_owned());
        for root in self.discovery.output_roots.iter().chain(&self.discovery.outputs) {
            line(format!("  {}", shown(root.as_str())));
        }
        out
    }

    fn locked(&self) -> impl Iterator<Item = (&String, &String)> {
        self.lock.iter().flat_map(|lock| &lock.packages)
    }

    fn surroundings(&self) -> Vec<(&'static str, String)> {
        let body = &self.body;
        let share = "the worker's share".to_owned();
        let grid = if self.embedded { "this machine's own" } else { "the configured one" };
        let mut rows = vec![("grid", grid.to_owned()), ("python", self.python())];
        let sandbox = match body.runtime.starts_with("image:") {
            true => "docker: a container of its own",
            false => "process: its own files, processes and network",
        };
        rows.push(("sandbox", sandbox.to_owned()));
        rows.push((
            "network",
            if body.network == Some(false) {
                "none".to_owned()
            } else {
                "on, private addresses blocked".to_owned()
            },
        ));
        let alone = if self.embedded { "all, while it runs alone".to_owned() } else { "1".to_owned() };
        rows.push(("CPUs", body.cpu_millis.map_or(alone, |cpu| format!("{}", f64::from(cpu) / 1000.0))));
        rows.push(("memory", body.memory_bytes.map_or(share.clone(), size)));
        rows.push(("disk", body.disk_bytes.map_or(share, size)));
        let timeout = body.timeout_ms.map_or(limits::TIMEOUT, Duration::from_millis);
        rows.push(("time", format!("at most {}", format_duration(timeout))));
        rows.push(("lost workers", format!("survives {}", body.retries.unwrap_or(limits::RETRIES))));
        rows.push(("standard input", if body.stdin { "streamed".to_owned() } else { "empty".to_owned() }));
        rows
    }

    fn python(&self) -> String {
        let runtime = &self.body.runtime;
        match &self.interpreter {
            Some(found) if self.embedded && self.body.interpreter.is_some() => {
                let source = match &found.source {
                    Source::VirtualEnv => "VIRTUAL_ENV",
                    Source::DotVenv(_) => "the project's .venv",
                    Source::Conda => "CONDA_PREFIX",
                    Source::Path => "PATH",
                };
                format!("{} (from {source})", shown(&found.path.to_string_lossy()))
            }
            Some(_) | None => runtime.clone(),
        }
    }

    /// As programs read it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let inputs: Vec<_> = self
            .discovery
            .inputs
            .iter()
            .map(|found| {
                json!({
                    "path": found.input.path.as_str(),
                    "size_bytes": found.size_bytes,
                    "reason": self.reason(&found.reason),
                })
            })
            .collect();
        let not_sent: Vec<_> = self
            .discovery
            .not_sent
            .iter()
            .map(|not| {
                json!({
                    "path": not.path.to_string_lossy(),
                    "reason": obstacle(&not.obstacle),
                    "named_by": self.reason(&not.named_by),
                })
            })
            .collect();
        let packages: Vec<_> = self
            .discovery
            .third_party_imports
            .iter()
            .map(|import| json!({ "module": import.module, "imported_at": self.line(&import.imported_at), "optional": import.optional }))
            .collect();
        let surroundings: serde_json::Map<_, _> = self
            .surroundings()
            .into_iter()
            .map(|(name, value)| (name.replace(' ', "_"), value.into()))
            .collect();
        json!({
            "project_root": self.discovery.project_root.as_str(),
            "inputs": inputs,
            "total_bytes": self.total_bytes(),
            "not_sent": not_sent,
            "packages": packages,
            "locked": self.lock.as_ref().map(|lock| json!({ "source": lock.source, "versions": lock.packages })),
            "environment": self.body.environment.keys().collect::<Vec<_>>(),
            "surroundings": surroundings,
            "output_roots": self.body.output_roots,
            "outputs": self.body.outputs,
        })
    }
}

fn obstacle(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::IgnoredBy { file, pattern } => {
            format!("{} in {} excludes it", shown(pattern), shown(&file.to_string_lossy()))
        }
        Obstacle::NeverSent => "never sent unless --input names it".to_owned(),
        Obstacle::NoInput => "--no-input names it".to_owned(),
        Obstacle::Special => "a socket, a pipe or a device".to_owned(),
        Obstacle::Dangling => "a link that leads nowhere".to_owned(),
        Obstacle::Unreadable(words) => format!("it cannot be read: {}", shown(words)),
        Obstacle::Name => "its name cannot travel".to_owned(),
        Obstacle::TooLarge { size_bytes } => format!("{} are too large", size(*size_bytes)),
        Obstacle::OutsideProject => "it lies outside of the project; --input sends it".to_owned(),
        Obstacle::WholeDisk => "too wide a folder to be sent whole".to_owned(),
    }
}
