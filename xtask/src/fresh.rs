//! Both README commands on a bare Debian 12, made by debootstrap and entered by chroot in namespaces of its own, with
//! the Rust toolchain bound in and an empty HOME: once as root, once as a user without sudo.
//!
//! The commands are read from README.md, so that what a newcomer types is what is tried.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::{output, prerequisites, root, run};

/// What the bare system holds besides Debian's minimum: what Rust needs to link, and git for the clone.
const INCLUDED: &str = "ca-certificates,gcc,libc6-dev,git";
/// What the example prints when it worked.
const EXAMPLE_PRINTS: &str = "words";

pub(crate) fn fresh(args: &[String]) -> Result<()> {
    ensure!(output(Command::new("id").arg("-u"))?.trim() == "0", "debootstrap and chroot need root");
    if Command::new("debootstrap").arg("--version").stdout(Stdio::null()).status().is_err() {
        run(Command::new("apt-get").args(["install", "-q", "-y", "debootstrap"]))?;
    }
    let base = root().join("target/fresh");
    std::fs::create_dir_all(&base)?;
    let template = base.join("bookworm");
    if !template.join("usr/bin/gcc").exists() {
        prerequisites::bootstrap(&template, "bookworm", INCLUDED)?;
    }
    let commands = readme_commands()?;
    let skip_tests = args.iter().any(|arg| arg == "--no-tests");
    let only = args.iter().find_map(|arg| arg.strip_prefix("--as="));
    for user in ["root", "dev"].into_iter().filter(|user| only.is_none_or(|only| only == *user)) {
        let machine = if args.iter().any(|arg| arg == "--again") {
            // As the last run left it: what was built and installed stays, the clone is brought up to date.
            let machine = Machine { folder: base.join(user), user };
            let clone = machine.folder.join(&machine.home()[1..]).join("rgrid");
            run(Command::new("git")
                .args(["-c", "safe.directory=*", "-C"])
                .arg(&clone)
                .args(["pull", "-q"])
                .arg(root()))?;
            machine
        } else {
            Machine::new(&base, &template, user)?
        };
        machine.first_command(&commands.0)?;
        if skip_tests {
            continue;
        }
        machine.second_command(&commands.1)?;
    }
    println!("fresh: both commands behave, as {}", only.unwrap_or("root and as a user"));
    Ok(())
}

/// The first and the second indented block of commands of README.md that start with `cargo`.
fn readme_commands() -> Result<(String, String)> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let mut commands = readme.lines().filter(|line| line.starts_with("cargo "));
    let first = commands.next().context("README.md has no first command")?;
    let second = commands.next().context("README.md has no second command")?;
    Ok((first.to_owned(), second.to_owned()))
}

/// One bare system, with a clone of the committed work in it.
struct Machine {
    folder: PathBuf,
    user: &'static str,
}

impl Machine {
    fn new(base: &Path, template: &Path, user: &'static str) -> Result<Self> {
        let folder = base.join(user);
        if folder.exists() {
            run(Command::new("rm").args(["-rf", "--one-file-system"]).arg(&folder))?;
        }
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(template).arg(&folder))?;
        // Packages, names and certificates are reached as this machine reaches them.
        for path in [
            "/etc/apt/sources.list",
            "/etc/apt/sources.list.d",
            "/etc/apt/apt.conf.d",
            "/etc/resolv.conf",
            "/etc/ssl",
        ] {
            if Path::new(path).exists() {
                run(Command::new("cp")
                    .args(["-aLT", "--remove-destination", path])
                    .arg(folder.join(&path[1..])))?;
            }
        }
        for bound in ["opt/rust", "proc", "sys", "dev"] {
            std::fs::create_dir_all(folder.join(bound))?;
        }
        let home = if user == "root" { "root" } else { "home/dev" };
        if user != "root" {
            run(Command::new("chroot").arg(&folder).args([
                "useradd",
                "--create-home",
                "--shell",
                "/bin/bash",
                user,
            ]))?;
        }
        run(Command::new("git")
            .args(["clone", "-q", "--no-hardlinks"])
            .arg(root())
            .arg(folder.join(home).join("rgrid")))?;
        let machine = Self { folder, user };
        if user != "root" {
            machine.enter("root", &format!("chown -R {user}: /home/{user}/rgrid"))?;
        }
        Ok(machine)
    }

    fn home(&self) -> &'static str {
        if self.user == "root" { "/root" } else { "/home/dev" }
    }

    /// Runs a line as `user` in the clone, in namespaces of its own. Answers what it printed, the exit code first.
    ///
    /// Its root is a mount of its own, as on any machine: in a bare chroot nobody may make user namespaces, and
    /// bubblewrap nothing at all. The tun device is there for everybody, as Debian's udev makes it.
    fn enter(&self, user: &str, line: &str) -> Result<(i32, String)> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let folder = self.folder.display();
        let inside = format!("cd {home}/rgrid && {line}", home = self.home(),);
        let setup = format!(
            "set -e
             mount --make-rprivate /
             mount --bind {folder} {folder}
             mount --rbind /dev {folder}/dev
             mount --rbind /sys {folder}/sys
             mount -t proc proc {folder}/proc
             mount --bind -o ro {sysroot} {folder}/opt/rust
             if [ -e /dev/net/tun ]; then
                 [ -e {folder}/run/tun ] || mknod -m 666 {folder}/run/tun c 10 200
                 mount --bind {folder}/run/tun {folder}/dev/net/tun
             fi
             cd {folder}
             pivot_root . mnt
             umount -l /mnt
             exec chroot --userspec={user} / /usr/bin/env -i HOME={home} USER={user} TERM=dumb LANG=C.UTF-8 \\
                 PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c \"$1\"",
            sysroot = sysroot.trim(),
            home = if user == "root" { "/root" } else { "/home/dev" },
        );
        eprintln!("[{}] {line}", self.user);
        let result = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--ipc",
                "--uts",
                "bash",
                "-c",
                &setup,
                "bash",
                &inside,
            ])
            .stdin(Stdio::null())
            .output()
            .context("enter the bare system")?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&result.stdout), String::from_utf8_lossy(&result.stderr));
        Ok((result.status.code().unwrap_or(-1), text))
    }

    /// Ends with the example's output; before that, one sentence may name what is missing.
    fn first_command(&self, command: &str) -> Result<()> {
        let started = Instant::now();
        let (code, text) = self.enter(self.user, "cargo build --release --locked")?;
        ensure!(code == 0, "the build failed:\n{text}");
        println!("fresh: {}: built in {:.0} s", self.user, started.elapsed().as_secs_f64());
        let started = Instant::now();
        let (mut code, mut text) = self.enter(self.user, command)?;
        if code != 0 {
            let install = apt_line(&text)
                .with_context(|| format!("exit {code}, and no sentence names a package:\n{text}"))?;
            println!("fresh: {}: it says: {install}", self.user);
            let (installed, log) = self
                .enter("root", &format!("apt-get update -q && DEBIAN_FRONTEND=noninteractive {install}"))?;
            ensure!(installed == 0, "its own advice failed:\n{log}");
            let again = Instant::now();
            (code, text) = self.enter(self.user, command)?;
            println!("fresh: {}: first run {:.1} s", self.user, again.elapsed().as_secs_f64());
        } else {
            println!("fresh: {}: first run {:.1} s", self.user, started.elapsed().as_secs_f64());
        }
        ensure!(code == 0 && text.contains(EXAMPLE_PRINTS), "exit {code}:\n{text}");
        println!("{text}");
        self.enter(self.user, "target/release/rgrid down").map(drop)
    }

    /// As root all tests are green; as a user the one line is printed and nothing runs.
    fn second_command(&self, command: &str) -> Result<()> {
        let started = Instant::now();
        let (code, text) = self.enter(self.user, command)?;
        let log = self.folder.join("second.log");
        std::fs::write(&log, &text)?;
        if self.user == "root" {
            if code != 0 {
                let tail: Vec<&str> = text.lines().rev().take(60).collect();
                bail!(
                    "{command} ended with {code}; the whole is in {}:\n{}",
                    log.display(),
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
            println!("fresh: root: all tests green in {:.0} s", started.elapsed().as_secs_f64());
        } else {
            let line = apt_line(&text);
            ensure!(code == 0 || line.is_some(), "exit {code}, and no line names a package:\n{text}");
            println!(
                "fresh: {}: {}",
                self.user,
                line.unwrap_or_else(|| "nothing was missing, and all tests ran".to_owned())
            );
        }
        Ok(())
    }
}

/// The one apt line in a text.
fn apt_line(text: &str) -> Option<String> {
    let start = text.find("apt-get install")?;
    let line = text[start..].lines().next()?;
    let end = line.find(['`', '\'', '"', ';', ')']).unwrap_or(line.len());
    Some(line[..end].trim_end_matches('.').trim().to_owned())
}
