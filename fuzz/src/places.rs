//! Paths that come from the grid: an output lands below the folders that were named, an input below its workspace,
//! whatever links lie on the way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use rgrid_api::executions::InputBody;
use rgrid_api::workers::Lease;
use rgrid_cli::fuzzing::place;
use rgrid_core::path::AbsolutePath;
use tempfile::TempDir;

use crate::input::Input;

/// Inputs of one lease: more say nothing new.
const INPUTS_MAX: usize = 32;

/// After its letter the input is the path of an output, or a list of inputs, one a line.
pub fn places(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() {
        b'w' => workspace(input),
        kind => download(kind, &input.text()),
    }
}

/// Folders of a person: a project with links of every kind, and others beside it.
struct Ground {
    _folder: TempDir,
    top: PathBuf,
}

static GROUND: LazyLock<Ground> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let top = folder.path().canonicalize().expect("it was made just now");
    let ground = || -> std::io::Result<()> {
        for made in ["project/a/b", "named/a", "target", "secret"] {
            fs::create_dir_all(top.join(made))?;
        }
        fs::write(top.join("project/file"), "")?;
        for (target, link) in [
            ("../secret", "project/out"),
            ("../../..", "project/a/up"),
            ("a", "project/in"),
            ("nowhere", "project/dangling"),
            ("loop", "project/loop"),
            ("/", "project/root"),
            ("../named", "project/named"),
            ("../project", "named/project"),
            ("../secret", "target/out"),
            ("project", "alias"),
        ] {
            symlink(target, top.join(link))?;
        }
        Ok(())
    };
    ground().expect("a temporary folder can be filled");
    Ground { _folder: folder, top }
});

fn absolute(path: &Path) -> AbsolutePath {
    path.to_str().and_then(|text| text.parse().ok()).expect("a temporary folder has a plain name")
}

/// `@` in the path stands for the ground's folder. The letter says which roots there are and where outputs go.
fn download(kind: u8, path: &str) {
    let top = &GROUND.top;
    let path = path.replace('@', top.to_str().unwrap_or_default());
    let at = |name: &str| absolute(&top.join(name));
    let (project, roots, folder) = match kind {
        b'n' => (at("project"), vec![at("project"), at("named")], None),
        b's' => (at("project"), vec![at("project"), at("named/single")], None),
        b't' => (at("project"), vec![at("project"), at("named")], Some("target")),
        b'T' => (at("project"), Vec::new(), Some("target")),
        b'N' => (at("project"), vec![at("project")], Some("new/folder")),
        b'l' => (at("alias"), vec![at("alias")], None),
        _ => (at("project"), vec![at("project")], None),
    };
    let folder = folder.map(|name| top.join(name));
    let Ok(place) = place(&project, &roots, folder.as_deref(), &path) else { return };

    let plain = place.components().all(|part| !matches!(part, Component::ParentDir));
    assert!(plain && place.is_absolute() && place.file_name().is_some(), "{place:?}");
    let allowed: Vec<PathBuf> = match &folder {
        Some(folder) => vec![folder.clone()],
        None => roots.iter().map(|root| PathBuf::from(root.as_str())).collect(),
    };
    let lands = real(place.parent().expect("it has a name"));
    // A root may be a file, which is its own place then.
    let below = |root: &PathBuf| place == *root || lands.starts_with(real(root));
    assert!(allowed.iter().any(below), "{path:?} lands in {lands:?}, and may only in {allowed:?}");
}

/// Where a path leads: its deepest part that is there, resolved, and what follows.
fn real(path: &Path) -> PathBuf {
    let there = path.ancestors().find(|above| above.symlink_metadata().is_ok()).expect("`/` is there");
    let rest = path.strip_prefix(there).expect("an ancestor is a prefix");
    let resolved = there.canonicalize().unwrap_or_else(|error| panic!("{there:?} leads nowhere: {error}"));
    if rest.as_os_str().is_empty() { resolved } else { resolved.join(rest) }
}

/// Lines of inputs: `f path`, `d path`, or `l path target`, with `@` for a folder outside of the workspace.
fn workspace(mut input: Input<'_>) {
    let folder = tempfile::tempdir_in(&GROUND.top).expect("a temporary folder can be made");
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).expect("a folder can be made in an empty one");
    let mut lease = lease();
    while !input.is_empty() && lease.inputs.len() < INPUTS_MAX {
        let line = input.text_line().replace('@', outside.to_str().unwrap_or_default());
        let (kind, rest) = line.split_once(' ').unwrap_or((&line, ""));
        lease.inputs.push(match kind {
            "d" => InputBody::Folder { path: rest.to_owned() },
            "l" => {
                let (path, target) = rest.split_once(' ').unwrap_or((rest, ""));
                InputBody::Symlink { path: path.to_owned(), target: target.to_owned() }
            }
            _ => InputBody::File {
                path: rest.to_owned(),
                sha256: "0".repeat(64),
                size_bytes: 0,
                mode: u32::from(u8::try_from(kind.len()).unwrap_or(u8::MAX)),
                modified_ns: 0,
            },
        });
    }
    let mut looked = false;
    // Whether it is refused is not the question: nothing may lie anywhere else.
    let _ = rgrid_runner::fuzzing::placed(folder.path(), &lease, |root| {
        looked = true;
        assert_eq!(names(folder.path()), ["cache", "outside", "workspace"]);
        assert_eq!(names(root.parent().expect("it lies in a folder")), ["root"]);
        assert_eq!(names(&outside), Vec::<String>::new());
    });
    assert!(looked, "a workspace can be made");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it is there").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn lease() -> Lease {
    let lease = serde_json::json!({
        "execution_id": "exec_01HF7YAT00E40R2081040G2081",
        "account_id": "account_01HF7YAT00E40R2081040G2081",
        "attempt": 1,
        "token": "t",
        "program": { "kind": "module", "name": "m" },
        "args": [],
        "cwd": "/p",
        "project_root": "/p",
        "runtime": "python:3.12",
        "interpreter": null,
        "inputs": [],
        "urls": {},
        "environment": {},
        "stdin": false,
        "cpu_millis": null,
        "memory_bytes": null,
        "disk_bytes": null,
        "grace_ms": 0,
        "network": false,
        "output_roots": [],
        "outputs": [],
        "output_bytes_max": 0,
        "directive": {
            "execution_id": "exec_01HF7YAT00E40R2081040G2081",
            "attempt": 1,
            "version": 0,
            "cancel": null,
            "timeout_ms": 1,
            "followed": false,
        },
    });
    serde_json::from_value(lease).expect("it is a lease")
}
