//! Torch for machines without a GPU, whoever locked it: with the real uv, and a PyTorch and an index of everybody's that the
//! test brings with it (`torch_index.py`), behind a proxy and a certificate that the person has configured.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::grid::{Grid, text};
use crate::uv;

/// Prints which torch it has, and all that is installed.
const SCRIPT: &str = "import importlib.metadata, torch\n\
    print(torch.__version__, *sorted(found.metadata['Name'] for found in importlib.metadata.distributions()))\n";
const POETRY_LOCK: &str = r#"
[[package]]
name = "torch"
version = "2.5.1"
[package.dependencies]
filelock = "*"
nvidia-x = "*"
triton = { version = "*", markers = "platform_system == \"Linux\"" }
[[package]]
name = "triton"
version = "3.1"
[package.dependencies]
filelock = "*"
[[package]]
name = "filelock"
version = "3.16"
[[package]]
name = "nvidia-x"
version = "12"
[[package]]
name = "meter"
version = "1"
[package.dependencies]
nvidia-meter = "*"
[[package]]
name = "nvidia-meter"
version = "1"
[metadata]
lock-version = "2.0"
"#;
const PIPFILE_LOCK: &str = r#"{"_meta": {}, "default": {
    "torch": {"version": "==2.5.1"}, "filelock": {"version": "==3.16"}, "nvidia-x": {"version": "==12"},
    "triton": {"version": "==3.1"}
}}"#;
/// Keeps the words of each start of uv.
const COUNTING_UV: &str =
    "#!/bin/sh\necho \"$*\" >> \"$(dirname \"$0\")/starts\"\nexec \"$REAL_UV\" \"$@\"\n";

/// The two indexes. They are gone with this.
struct Indexes {
    folder: TempDir,
    server: Child,
    proxy: String,
}

impl Indexes {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("rgrid-it-torch-").tempdir().unwrap();
        let names = "subjectAltName=DNS:download.pytorch.org,DNS:packages.test";
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-subj", "/CN=rgrid", "-addext", names, "-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(folder.path())
            .output()
            .expect("the test needs openssl, which makes a certificate");
        assert!(made.status.success(), "{}", text(&made.stderr));
        let mut server = Command::new("python3")
            .args(["-c", include_str!("torch_index.py")])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { folder, server, proxy: format!("http://127.0.0.1:{}", port.trim()) }
    }

    /// A program as somebody starts it who has configured these indexes, and has this uv.
    fn configured(&self, mut command: Command, uv: &Path) -> Command {
        let known = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
        let path = known.unwrap().to_owned();
        let folders = uv.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
        command
            .env("PATH", std::env::join_paths(folders).unwrap())
            .env("HTTPS_PROXY", &self.proxy)
            .env("SSL_CERT_FILE", self.folder.path().join("cert.pem"))
            .env("UV_DEFAULT_INDEX", "https://packages.test/simple")
            .env("UV_CACHE_DIR", self.folder.path().join("cache"))
            .env("UV_HTTP_RETRIES", "0");
        command
    }

    /// PyTorch's does not answer.
    fn down(&self) -> PathBuf {
        self.folder.path().join("down")
    }
}

impl Drop for Indexes {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A folder of a grid with the script in it.
struct Project<'a> {
    grid: &'a Grid,
    indexes: &'a Indexes,
    folder: PathBuf,
}

impl<'a> Project<'a> {
    fn new(grid: &'a Grid, indexes: &'a Indexes, name: &str) -> Self {
        let folder = grid.work().join(name);
        fs::create_dir(&folder).unwrap();
        let project = Self { grid, indexes, folder };
        project.write("s.py", SCRIPT);
        project
    }

    fn write(&self, file: &str, content: &str) {
        fs::write(self.folder.join(file), content).unwrap();
    }

    /// With a lock of uv's own.
    fn locked(self, dependencies: &str) -> Self {
        self.write(
            "pyproject.toml",
            &format!("[project]\nname = 'p'\nversion = '0'\nrequires-python = '>=3.9'\ndependencies = [{dependencies}]\n"),
        );
        self.uv(&["lock", "--quiet"]);
        self
    }

    fn uv(&self, args: &[&str]) {
        let mut command = self.indexes.configured(self.grid.program(&uv::path(), args), &uv::path());
        let output = command.current_dir(&self.folder).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    }

    fn run(&self, more: &[&str]) -> Output {
        self.run_with(more, &uv::path())
    }

    fn run_with(&self, more: &[&str], uv: &Path) -> Output {
        let mut command = self.indexes.configured(self.grid.rgrid(&["run"]), uv);
        command.args(more).arg("s.py").current_dir(&self.folder).env("REAL_UV", uv::path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}\n{}", text(&output.stderr), self.grid.log());
        output
    }

    /// What the script printed, and the warning about torch when there is one.
    fn check(&self, more: &[&str]) -> String {
        let output = self.run(more);
        let said = text(&output.stderr);
        let warnings = said.lines().filter(|line| line.contains("machines without a GPU"));
        [text(&output.stdout).trim()].into_iter().chain(warnings).collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn torch_comes_for_machines_without_a_gpu_whoever_locked_it() {
    let (indexes, grid) = (Indexes::start(), Grid::new());
    let project = |name: &str| Project::new(&grid, &indexes, name);

    let uv_locked = project("uv").locked("'torch', 'meter'");
    let lock = fs::read_to_string(uv_locked.folder.join("uv.lock")).unwrap();
    assert!(lock.contains("nvidia-x") && lock.contains("triton") && !lock.contains("+cpu"), "{lock}");
    fs::write(indexes.down(), "").unwrap();
    insta::assert_snapshot!(uv_locked.check(&[]), @r"
    2.5.1 filelock meter nvidia-meter nvidia-x torch triton
    rgrid: the index of torch for machines without a GPU does not answer: the one of the lock is taken, which is larger
    ");
    fs::remove_file(indexes.down()).unwrap();
    // What something else asks for stays.
    insta::assert_snapshot!(uv_locked.check(&["--upgrade"]), @"2.5.1+cpu filelock meter nvidia-meter torch");

    let pylock = project("pylock").locked("'torch'");
    pylock.uv(&["export", "--quiet", "--format", "pylock.toml", "--output-file", "pylock.toml"]);
    fs::remove_file(pylock.folder.join("uv.lock")).unwrap();
    insta::assert_snapshot!(pylock.check(&[]), @"2.5.1+cpu filelock torch");

    let script = project("script");
    let block = "# /// script\n# requires-python = '>=3.9'\n# dependencies = ['torch', 'meter']\n# ///\n";
    script.write("s.py", &format!("{block}{SCRIPT}"));
    script.uv(&["lock", "--quiet", "--script", "s.py"]);
    insta::assert_snapshot!(script.check(&[]), @"2.5.1+cpu filelock meter nvidia-meter torch");

    let poetry = project("poetry");
    poetry.write("poetry.lock", POETRY_LOCK);
    poetry.write(
        "pyproject.toml",
        "[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\ntorch = '*'\nmeter = '*'\n",
    );
    insta::assert_snapshot!(poetry.check(&[]), @"2.5.1+cpu filelock meter nvidia-meter torch");

    let pipfile = project("pipfile");
    pipfile.write("Pipfile.lock", PIPFILE_LOCK);
    insta::assert_snapshot!(pipfile.check(&[]), @"2.5.1+cpu filelock torch");

    let requirements = project("requirements");
    requirements.write("requirements.txt", "torch\n");
    insta::assert_snapshot!(requirements.check(&[]), @"2.5.1+cpu filelock torch");

    let frozen = project("frozen");
    frozen.write(
        "requirements.txt",
        "--extra-index-url https://download.pytorch.org/whl/cu124\ntorch==2.5.1+cu124 ; python_version > '3'\nmeter\n",
    );
    insta::assert_snapshot!(frozen.check(&[]), @"2.5.1+cpu filelock meter nvidia-meter torch");

    // PyTorch's index has no 2.5.0.
    insta::assert_snapshot!(project("older").locked("'torch==2.5.0'").check(&[]), @r"
    2.5.0 filelock nvidia-x torch triton
    rgrid: the index of torch for machines without a GPU lacks torch 2.5.0: the one of the lock is taken, which is larger
    ");
}

#[test]
fn a_lock_without_torch_is_looked_at_once() {
    let (indexes, grid) = (Indexes::start(), Grid::new());
    let counting = indexes.folder.path().join("uv");
    fs::write(&counting, COUNTING_UV).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&counting, executable).unwrap();
    let starts = |project: Project<'_>| {
        let planned = project.run_with(&["--dry-run"], &counting);
        let starts = indexes.folder.path().join("starts");
        let words = fs::read_to_string(&starts).unwrap();
        fs::remove_file(starts).unwrap();
        let words =
            words.lines().map(|line| line.split(" --").next().unwrap()).collect::<Vec<_>>().join(", ");
        assert!(text(&planned.stdout).contains("filelock"), "{}", text(&planned.stdout));
        words
    };
    let project = |name: &str, dependencies| Project::new(&grid, &indexes, name).locked(dependencies);
    assert_eq!(starts(project("without", "'filelock'")), "export");
    assert_eq!(starts(project("with", "'torch'")), "export, pip compile, export");
}
