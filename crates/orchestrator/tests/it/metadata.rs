//! What a fresh server does before its runner starts, in a network of the test's own: it closes the metadata service to all
//! but root, and sees that it is closed.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rgrid_orchestrator::cloud::hetzner::close_metadata;

const RULES: &str = include_str!("../../src/cloud/hetzner/close-metadata.nft");
/// A server's network, and the provider's beyond it.
const WORLD: &str = "set -e
mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip link set lo up
ip netns add provider
ip link add eth0 type veth peer name eth1 netns provider
ip address add 10.9.0.1/30 dev eth0
ip link set eth0 up
ip route add default via 10.9.0.2
ip -n provider address add 10.9.0.2/30 dev eth1
ip -n provider link set eth1 up
ip -n provider link set lo up
ip -n provider address add 169.254.169.254/32 dev lo
";

struct Server {
    folder: tempfile::TempDir,
    metadata: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.metadata.kill();
        let _ = self.metadata.wait();
    }
}

impl Server {
    fn boot() -> Self {
        assert!(Command::new("sh").args(["-c", WORLD]).status().unwrap().success());
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("served/hetzner/v1")).unwrap();
        std::fs::write(folder.path().join("served/hetzner/v1/userdata"), "rgj_secret").unwrap();
        let mut command = Command::new("nsenter");
        command.args([
            "--net=/run/netns/provider",
            "setpriv",
            "--pdeathsig",
            "KILL",
            "python3",
            "-m",
            "http.server",
        ]);
        command
            .args(["--bind", "169.254.169.254", "--directory"])
            .arg(folder.path().join("served"))
            .arg("80");
        let metadata = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { folder, metadata };
        let asked =
            ["--silent", "--retry", "30", "--retry-connrefused", "--retry-delay", "1", "--noproxy", "*"];
        let answer =
            Command::new("curl").args(asked).arg("http://169.254.169.254/hetzner/v1/userdata").output();
        assert_eq!(answer.unwrap().stdout, b"rgj_secret");
        server
    }

    /// Whether the runner may start, and what was said.
    fn close(&self, rules: &str, path: Option<&Path>) -> (bool, String) {
        let rules_file = self.folder.path().join("rules.nft");
        std::fs::write(&rules_file, rules).unwrap();
        let script = close_metadata().replace("/etc/rgrid/close-metadata.nft", rules_file.to_str().unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        if let Some(first) = path {
            let all = std::env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(first.to_owned()).chain(std::env::split_paths(&all));
            command.env("PATH", std::env::join_paths(folders).unwrap());
        }
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap().trim().to_owned())
    }

    /// A folder with another program of that name.
    fn instead(&self, program: &str, does: &str) -> std::path::PathBuf {
        let folder = self.folder.path().join(program);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(program);
        std::fs::write(&file, format!("#!/bin/sh\n{does}\n")).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(&file).status().unwrap().success());
        folder
    }
}

#[test]
fn a_server_becomes_a_worker_only_when_its_metadata_answers_root_alone() {
    if !nix::unistd::Uid::effective().is_root() {
        assert!(std::env::var_os("CI").is_none(), "a network of the tests' own needs root");
        return;
    }
    let tried = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let nothing: Option<&str> = None;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
        become_a_worker(&Server::boot());
    });
    tried.join().unwrap();
}

fn become_a_worker(server: &Server) {
    let refused = |said: &str| (false, format!("no worker is made of this server: {said}"));
    let closed = (true, "the metadata service answers root alone".to_owned());
    assert_eq!(server.close(RULES, None), closed);
    assert_eq!(server.close(RULES, None), closed, "and again, when the runner starts anew");

    let open_to_users = RULES.replace("ip daddr 169.254.0.0/16 meta skuid != 0 counter name users drop", "");
    let answered = refused("the metadata service answers a job's user");
    assert_eq!(server.close(&open_to_users, None), answered);
    let open_to_networks = RULES.replace("ip daddr 169.254.0.0/16 counter name networks drop", "");
    let passed = refused("what a job's network sends to the metadata service is not dropped");
    assert_eq!(server.close(&open_to_networks, None), passed);

    // That nobody was answered proves nothing where nobody asked.
    let unanswered = refused("the metadata service does not answer root either: nothing can be seen of it");
    let broken = server.instead("curl", "exit 7");
    assert_eq!(server.close(RULES, Some(&broken)), unanswered);
    let nobody = server.instead("setpriv", "exit 7");
    let unasked = refused("what a job's user sends to the metadata service is not dropped");
    assert_eq!(server.close(RULES, Some(&nobody)), unasked);

    // With IPv6 alone there is no way there, for anybody.
    assert!(Command::new("ip").args(["route", "delete", "default"]).status().unwrap().success());
    assert_eq!(server.close(RULES, None), (true, "there is no way to the metadata service".to_owned()));
}
