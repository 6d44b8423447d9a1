//! What travels with the scripts that people have. `check(tree, command)` lays out files, looks for what must travel,
//! and prints it with its reasons; each test is one script, its command and the listing.

mod arguments;
mod ignored;
mod interpreter;
mod literals;
mod modules;
mod refusals;
mod remembered;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rgrid_cli::discovery::{
    Discovery, DiscoveryError, Found, NotSent, Obstacle, Reason, Request, SourceLine, Target, discover,
};
use rgrid_core::submission::InputKind;

/// A folder with files in it, gone at the end of the test.
pub(super) struct Tree {
    folder: tempfile::TempDir,
}

impl Tree {
    /// Lays out files as `path: content` pairs. A path that ends in `/` is a folder, `link -> target` a link.
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("discovery").tempdir().unwrap();
        let tree = Self { folder };
        files.iter().for_each(|(path, content)| tree.write(path, content));
        tree
    }

    pub(super) fn write(&self, path: &str, content: &str) {
        if let Some((link, target)) = path.split_once(" -> ") {
            let link = self.path(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let target = target.replace("$TOP", self.top().to_str().unwrap());
            return std::os::unix::fs::symlink(target, link).unwrap();
        }
        let place = self.path(path);
        if path.ends_with('/') {
            return fs::create_dir_all(place).unwrap();
        }
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, content).unwrap();
    }

    pub(super) fn top(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.top().join(path)
    }

    /// The request for a command such as `script.py --x data.csv`, `-m pkg.mod` or `--input a script.py`, given in the
    /// project's folder `p`, or in the one that `cd FOLDER;` names.
    pub(super) fn request(&self, command: &str) -> Request {
        let command = command.replace("$TOP", self.top().to_str().unwrap());
        let (cwd, command) = match command.strip_prefix("cd ").and_then(|rest| rest.split_once(';')) {
            Some((folder, command)) => (self.path(folder), command.to_owned()),
            None => (self.path("p"), command),
        };
        let mut request = Request {
            program: Target::Script(PathBuf::new()),
            args: Vec::new(),
            cwd,
            inputs: Vec::new(),
            no_inputs: Vec::new(),
            includes: Vec::new(),
            outputs: Vec::new(),
            home: Some(self.path("home")),
            cache_folder: None,
        };
        let mut words = shlex::split(&command).unwrap().into_iter();
        let program = loop {
            let word = words.next().unwrap();
            match word.as_str() {
                "--input" => request.inputs.push(words.next().unwrap().into()),
                "--no-input" => request.no_inputs.push(words.next().unwrap().into()),
                "--include" => request.includes.push(words.next().unwrap()),
                "--output" => request.outputs.push(words.next().unwrap().into()),
                "-m" => break Target::Module(words.next().unwrap()),
                script => break Target::Script(script.into()),
            }
        };
        request.program = program;
        request.args = words.map(OsString::from).collect();
        request
    }

    /// The listing for a command, with this tree's folder cut off.
    pub(super) fn listing(&self, command: &str) -> String {
        let text = match discover(&self.request(command)) {
            Ok(discovery) => listing(&discovery),
            Err(error) => format!("refused: {}", sentence(&error)),
        };
        text.replace(self.top().to_str().unwrap(), "")
    }
}

/// An error with its causes, as the commands print it.
fn sentence(error: &DiscoveryError) -> String {
    error.to_string()
}

/// Lays out the tree and lists what the command would send.
pub(super) fn check(files: &[(&str, &str)], command: &str) -> String {
    Tree::new(files).listing(command)
}

fn listing(discovery: &Discovery) -> String {
    let mut lines: Vec<String> = discovery.inputs.iter().map(sent).collect();
    let mut left: Vec<_> = discovery.not_sent.iter().map(not_sent).collect();
    left.sort();
    lines.extend(left);
    lines.extend(discovery.output_roots[1..].iter().map(|root| format!("outputs of {root}")));
    lines.extend(discovery.outputs.iter().map(|output| format!("output {output}")));
    for import in &discovery.third_party_imports {
        let optional = if import.optional { " (optional)" } else { "" };
        lines.push(format!("needs {}{optional}: {}", import.module, line(&import.imported_at)));
    }
    lines.extend(discovery.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}

fn sent(found: &Found) -> String {
    let mark = match &found.input.kind {
        InputKind::File { .. } => String::new(),
        InputKind::Folder => "/".to_owned(),
        InputKind::Symlink { target } => format!(" -> {target}"),
    };
    format!("{}{mark}: {}", found.input.path, reason(&found.reason))
}

fn not_sent(left: &NotSent) -> String {
    let obstacle = if let Obstacle::IgnoredBy { file, pattern } = &left.obstacle {
        format!("{} has {pattern}", file.display())
    } else {
        format!("{:?}", left.obstacle)
    };
    format!("NOT {}: {obstacle} ({})", left.path.display(), reason(&left.named_by))
}

fn line(source: &SourceLine) -> String {
    format!("{}:{}", source.file.name(), source.line)
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Program => "program".to_owned(),
        Reason::Imported(source) => format!("import {}", line(source)),
        Reason::Argument { position } => format!("argument {position}"),
        Reason::Literal(source) => format!("literal {}", line(source)),
        Reason::Input => "--input".to_owned(),
        Reason::Include { pattern } => format!("--include {pattern}"),
        Reason::Package => "package".to_owned(),
        Reason::LinkTarget { link } => format!("target of {}", Path::new(link.as_str()).display()),
    }
}
