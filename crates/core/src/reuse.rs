//! When two submissions are the same, so that the outputs of one answer the other: what counts, what does not, and which
//! files that a script left behind make no difference (SEMANTICS section 8).

use std::collections::HashMap;

use crate::path::AbsolutePath;
use crate::runtime::Runtime;
use crate::submission::{Input, InputKind, Program, Sha256, Submission};

/// Executions that are compared file by file with a submission when none was sent exactly the same.
pub const CANDIDATES_MAX: i64 = 16;

/// All that decides what a script does, as bytes: two submissions are the same when theirs are. The bytes hold the values
/// of variables: they are hashed under a secret key and kept nowhere.
///
/// Not among them is what only says when and for how long it runs (priority, limits, retries) and how people call it; nor
/// standard input, which comes later; nor when files were last changed.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which Python was asked for: two executions with the same were run by the same one, until a machine is changed.
    pub place: Vec<u8>,
    /// The rest, without what travels.
    pub question: Vec<u8>,
    /// What travels.
    pub inputs: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Writes each part with its length before it, so that no two lists spell the same bytes.
#[derive(Default)]
struct Parts(Vec<u8>);

impl Parts {
    fn add(&mut self, part: &[u8]) {
        self.0.extend((part.len() as u64).to_be_bytes());
        self.0.extend(part);
    }

    fn text(&mut self, text: &str) {
        self.add(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.add(&[u8::from(text.is_some())]);
        self.text(text.unwrap_or_default());
    }

    fn all<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) {
        self.add(&(texts.len() as u64).to_be_bytes());
        texts.for_each(|text| self.text(text));
    }
}

/// What decides about a submission; `None` for one that is never the same as another: what an image's name stands for may
/// have changed since, unless it says its digest.
#[must_use]
pub fn identity(submission: &Submission) -> Option<Identity> {
    if let Runtime::Image(name) = &submission.runtime
        && !name.as_str().contains("@sha256:")
    {
        return None;
    }
    Some(Identity { place: place(submission), question: question(submission), inputs: inputs(submission) })
}

fn place(submission: &Submission) -> Vec<u8> {
    let mut parts = Parts::default();
    parts.text(&submission.runtime.to_string());
    parts.optional(submission.interpreter.as_ref().map(AbsolutePath::as_str));
    parts.0
}

fn question(submission: &Submission) -> Vec<u8> {
    let mut parts = Parts::default();
    match &submission.program {
        Program::Script { path, argv0 } => {
            parts.text("script");
            parts.text(path.as_str());
            parts.optional(argv0.as_deref());
        }
        Program::Module(name) => {
            parts.text("module");
            parts.text(name);
        }
    }
    parts.all(submission.args.iter().map(String::as_str));
    parts.text(submission.cwd.as_str());
    parts.text(submission.project_root.as_str());
    parts.optional(submission.interpreter_state.map(|state| state.to_string()).as_deref());
    parts.add(&(submission.environment.len() as u64).to_be_bytes());
    for (name, value) in &submission.environment {
        parts.text(name);
        parts.text(value);
    }
    parts.add(&[u8::from(submission.stdin), u8::from(submission.network)]);
    parts.add(&submission.umask.to_be_bytes());
    // A folder below another one that is looked through anyway adds nothing; it is named only once it is there.
    let adds = |root: &&AbsolutePath| {
        !root.is_within(&submission.project_root)
            && !submission.output_roots.iter().any(|other| other != *root && root.is_within(other))
    };
    let mut roots: Vec<&str> =
        submission.output_roots.iter().filter(adds).map(AbsolutePath::as_str).collect();
    roots.sort_unstable();
    parts.all(roots.into_iter());
    let mut outputs: Vec<&str> = submission.outputs.iter().map(AbsolutePath::as_str).collect();
    outputs.sort_unstable();
    parts.all(outputs.into_iter());
    // The lock itself is among what travels.
    let packages = submission.dependencies.as_ref().map_or(&[][..], |wanted| &wanted.local);
    let mut local: Vec<_> = packages.iter().collect();
    local.sort_unstable();
    for package in local {
        parts.text(package.path.as_str());
        parts.add(&[u8::from(package.editable)]);
    }
    parts.0
}

fn inputs(submission: &Submission) -> Vec<u8> {
    let mut sorted: Vec<&Input> = submission.inputs.iter().collect();
    sorted.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut parts = Parts::default();
    for input in sorted {
        parts.text(input.path.as_str());
        match &input.kind {
            InputKind::File { sha256, mode, .. } => {
                parts.text("file");
                parts.add(&sha256.0);
                parts.add(&mode.to_be_bytes());
            }
            InputKind::Folder => parts.text("folder"),
            InputKind::Symlink { target } => {
                parts.text("symlink");
                parts.text(target);
            }
        }
    }
    parts.0
}

/// True when what is sent now is what was sent for an execution, but for what that execution itself left behind: files
/// that it made, as it made them, and folders that hold such files. A file that it was sent and changed does count.
#[must_use]
pub fn same_but_for_results(now: &[Input], then: &[Input], made: &[(AbsolutePath, Sha256)]) -> bool {
    let then_by_path: HashMap<&AbsolutePath, &InputKind> =
        then.iter().map(|input| (&input.path, &input.kind)).collect();
    let made_by_path: HashMap<&AbsolutePath, &Sha256> =
        made.iter().map(|(path, sha256)| (path, sha256)).collect();
    let mut known = 0;
    for input in now {
        match (then_by_path.get(&input.path), &input.kind) {
            (Some(then), now) if is_same(then, now) => known += 1,
            (Some(_), _) => return false,
            (None, InputKind::File { sha256, .. }) if made_by_path.get(&input.path) == Some(&sha256) => {}
            (None, InputKind::Folder) if made.iter().any(|(path, _)| path.is_within(&input.path)) => {}
            (None, _) => return false,
        }
    }
    known == then.len()
}

fn is_same(then: &InputKind, now: &InputKind) -> bool {
    match (then, now) {
        (
            InputKind::File { sha256: then, mode: then_mode, .. },
            InputKind::File { sha256: now, mode: now_mode, .. },
        ) => then == now && then_mode == now_mode,
        (InputKind::Folder, InputKind::Folder) => true,
        (InputKind::Symlink { target: then }, InputKind::Symlink { target: now }) => then == now,
        (InputKind::File { .. } | InputKind::Folder | InputKind::Symlink { .. }, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::dependencies::{Dependencies, LOCK_PATH, LocalPackage};
    use crate::submission::{Draft, Wanted};

    type Change = fn(&mut Draft);

    fn path(text: &str) -> AbsolutePath {
        text.parse().unwrap()
    }

    fn file(at: &str, content: u8) -> Input {
        let kind =
            InputKind::File { sha256: Sha256([content; 32]), size_bytes: 1, mode: 0o644, modified_ns: 0 };
        Input { path: path(at), kind }
    }

    fn draft() -> Draft {
        Draft {
            name: None,
            program: Program::Script { path: path("/p/s.py"), argv0: Some("s.py".to_owned()) },
            args: vec!["a".to_owned(), "b".to_owned()],
            cwd: path("/p"),
            project_root: path("/p"),
            inputs: vec![
                file("/p/s.py", 1),
                file("/p/module.py", 2),
                file("/p/data.csv", 3),
                file(LOCK_PATH, 4),
            ],
            runtime: "python:3.11".parse().unwrap(),
            interpreter: Some(path("/usr/bin/python3")),
            interpreter_state: Some(Sha256([9; 32])),
            environment: BTreeMap::from([("K".to_owned(), "v".to_owned())]),
            stdin: false,
            wanted: Wanted::default(),
            timeout: Duration::from_secs(1),
            grace: Duration::from_secs(1),
            retries: 2,
            retry_on: Vec::new(),
            network: true,
            output_roots: vec![path("/p")],
            outputs: Vec::new(),
            priority: 0,
            metadata: BTreeMap::new(),
            umask: 0o022,
            dependencies: Some(Dependencies {
                source: "requirements.txt".to_owned(),
                lock: path(LOCK_PATH),
                local: Vec::new(),
                credentials: BTreeMap::new(),
            }),
        }
    }

    fn identity_of(change: impl FnOnce(&mut Draft)) -> Identity {
        let mut draft = draft();
        change(&mut draft);
        identity(&draft.parse().unwrap()).unwrap()
    }

    #[test]
    fn whatever_a_script_can_see_makes_another_submission() {
        let same = identity_of(|_| ());
        let changes: [(&str, Change); 19] = [
            ("script", |d| d.inputs[0] = file("/p/s.py", 7)),
            ("module", |d| d.inputs[1] = file("/p/module.py", 7)),
            ("input", |d| d.inputs[2] = file("/p/data.csv", 7)),
            ("lock", |d| d.inputs[3] = file(LOCK_PATH, 7)),
            ("an input's path", |d| d.inputs[2] = file("/p/other.csv", 3)),
            ("one more input", |d| d.inputs.push(file("/p/x", 3))),
            ("program", |d| d.program = Program::Module("s".to_owned())),
            ("argument", |d| d.args[1] = "c".to_owned()),
            ("arguments' borders", |d| d.args = vec!["ab".to_owned(), String::new()]),
            ("working folder", |d| d.cwd = path("/p/sub")),
            ("variable", |d| d.environment = BTreeMap::from([("K".to_owned(), "w".to_owned())])),
            ("variable's name", |d| d.environment = BTreeMap::from([("Kv".to_owned(), String::new())])),
            ("stdin", |d| d.stdin = true),
            ("network", |d| d.network = false),
            ("runtime", |d| d.runtime = "python:3.13".parse().unwrap()),
            ("interpreter", |d| d.interpreter = None),
            ("its packages", |d| d.interpreter_state = Some(Sha256([8; 32]))),
            ("what comes back", |d| d.outputs.push(path("/tmp/y"))),
            ("umask", |d| d.umask = 0),
        ];
        for (what, change) in changes {
            assert!(identity_of(change) != same, "{what}");
        }
        let editable = |d: &mut Draft| {
            let local = LocalPackage { path: path("/p"), editable: true };
            d.dependencies.as_mut().unwrap().local.push(local);
        };
        assert!(identity_of(editable) != same);
    }

    #[test]
    fn when_and_how_long_it_runs_and_how_it_is_called_does_not_matter() {
        let same = identity_of(|_| ());
        let changes: [Change; 7] = [
            |d| d.name = Some("x".to_owned()),
            |d| d.priority = 5,
            |d| d.timeout = Duration::from_secs(9),
            |d| d.metadata = BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            |d| d.inputs.reverse(),
            |d| d.output_roots.push(path("/p/out")),
            |d| {
                d.inputs.iter_mut().for_each(|input| {
                    if let InputKind::File { modified_ns, .. } = &mut input.kind {
                        *modified_ns = 5;
                    }
                })
            },
        ];
        for change in changes {
            assert!(identity_of(change) == same);
        }
    }

    #[test]
    fn an_image_is_the_same_only_by_its_digest() {
        let of = |runtime: &str| {
            let draft = Draft { runtime: runtime.parse().unwrap(), ..draft() };
            identity(&draft.parse().unwrap())
        };
        assert!(of("image:python:3.12").is_none());
        assert!(of(&format!("image:python@sha256:{}", "0".repeat(64))).is_some());
    }

    #[test]
    fn what_an_execution_left_behind_makes_no_difference_and_everything_else_does() {
        let then = [file("/p/s.py", 1), file("/p/counter", 2)];
        let made = [(path("/p/out/x.csv"), Sha256([3; 32])), (path("/p/counter"), Sha256([4; 32]))];
        let same = |more: &[Input]| {
            let now = [&[file("/p/s.py", 1), file("/p/counter", 2)], more].concat();
            same_but_for_results(&now, &then, &made)
        };
        let folder = |at: &str| Input { path: path(at), kind: InputKind::Folder };
        assert!(same(&[]) && same(&[file("/p/out/x.csv", 3)]) && same(&[folder("/p/out")]));
        assert!(!same(&[file("/p/out/x.csv", 9)]) && !same(&[file("/p/new", 3)]) && !same(&[folder("/p/q")]));
        // It was sent a file, and changed it.
        assert!(!same_but_for_results(&[file("/p/s.py", 1), file("/p/counter", 4)], &then, &made));
        assert!(!same_but_for_results(&[file("/p/s.py", 1)], &then, &made));
    }
}
