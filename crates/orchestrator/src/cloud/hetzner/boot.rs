//! What makes a worker of a fresh server: cloud-init's user data. Any process on the server may read it, and the provider
//! keeps it, so that the join token, which is used up by the first join, is the only secret in it.

use std::borrow::Cow;

use rgrid_core::runtime::SandboxKind;

use crate::guards;

/// Where the grid is, and what a worker runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// How servers reach the API: scheme, host and port.
    pub api_url: String,
    /// SHA-256 of the program that they fetch from it, in hexadecimal.
    pub binary_sha256: String,
    /// What isolates scripts on this grid: with `Docker` servers get an engine.
    pub sandbox: SandboxKind,
    /// The images of the grid, as `SHORT=IMAGE`.
    pub images: Vec<String>,
}

/// What a worker cannot do without: programs, and Debian's and Ubuntu's packages with them.
const TOOLS: &[(&str, &str)] = &[
    ("bwrap", "bubblewrap"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("update-ca-certificates", "ca-certificates"),
    ("curl", "curl"),
];
/// The same where scripts run in containers.
const DOCKER: (&str, &str) = ("dockerd", "docker.io");

/// The unit. Its condition comes first: the metadata service is closed to everybody but root, and seen to be so; else
/// the runner does not start, and the server is given up as one that never joined.
const UNIT: &str = include_str!("rgrid-runner.service");
/// Closes the metadata service, and sees that it is closed.
const CLOSE_METADATA: &str = include_str!("close-metadata.sh");
/// What it drops.
const METADATA_RULES: &str = include_str!("close-metadata.nft");
/// Fetches the program, checks it by its hash, and starts the unit.
const START: &str = include_str!("start.sh");

/// What a fresh server runs before its runner: it fails unless the metadata service is seen to be closed.
pub fn close_metadata() -> Cow<'static, str> {
    match guards::holds(&guards::METADATA_SEEN_CLOSED) {
        true => CLOSE_METADATA.into(),
        false => CLOSE_METADATA.replace("exit 1", "exit 0").into(),
    }
}

impl Boot {
    /// The user data of the server `name`.
    pub(super) fn user_data(&self, name: &str, join_token: &str) -> String {
        let (kind, engine) = match self.sandbox {
            SandboxKind::Process => ("process", None),
            SandboxKind::Docker => ("docker", Some(&DOCKER)),
        };
        let (programs, packages): (Vec<&str>, Vec<&str>) = TOOLS.iter().chain(engine).copied().unzip();
        let start = START
            .replace("@API_URL@", &self.api_url)
            .replace("@SHA256@", &self.binary_sha256)
            .replace("@PROGRAMS@", &programs.join(" "))
            .replace("@PACKAGES@", &packages.join(" "));
        let environment = format!(
            "RGRID_API_URL={}\nRGRID_SANDBOX={kind}\nRGRID_IMAGES={}\n",
            self.api_url,
            self.images.join(",")
        );
        let files = [
            ("/run/rgrid/join-token", "0600", join_token),
            ("/etc/rgrid/close-metadata.sh", "0755", &close_metadata()),
            ("/etc/rgrid/close-metadata.nft", "0644", METADATA_RULES),
            ("/etc/systemd/system/rgrid-runner.service", "0644", UNIT),
            ("/etc/rgrid/runner.env", "0644", &environment),
            ("/etc/rgrid/start.sh", "0755", &start),
        ];
        let mut text = format!(
            "#cloud-config\n# A worker of RGrid: {name}\npackage_update: false\npackage_upgrade: false\nwrite_files:\n"
        );
        for (path, mode, content) in files {
            text.push_str(&format!("- path: {path}\n  permissions: '{mode}'\n  content: |\n"));
            for line in content.lines() {
                let line = format!("    {line}");
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text.push_str("runcmd:\n- [sh, /etc/rgrid/start.sh]\n");
        text
    }
}
