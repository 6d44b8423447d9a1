//! Other owners of the host's firewall. Docker and ufw set the policy of forwarding to DROP, and what one table drops no
//! other can let through: jobs' packets need an exception there, made with the owners' own tool.
//!
//! The exception covers the interfaces of all runners: what jobs may reach is decided in our own table.

use std::process::Stdio;

use tokio::process::Command;

use super::rules::INTERFACE;
use super::search_path;

/// The tools, one for each family.
const TOOLS: &[&str] = &["iptables", "ip6tables"];

/// What is let through: from jobs, and answers to them.
fn exceptions() -> [Vec<String>; 2] {
    let all = format!("{INTERFACE}+");
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    [
        words(&format!("FORWARD -i {all} -j ACCEPT")),
        words(&format!("FORWARD -o {all} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")),
    ]
}

/// Makes the exceptions where they are needed and not there yet.
pub(super) async fn let_through() {
    for tool in TOOLS {
        let Some(listed) = output(tool, &["-w", "-S", "FORWARD"]).await else { continue };
        if !listed.lines().any(|line| line == "-P FORWARD DROP") {
            continue;
        }
        for exception in exceptions() {
            let with =
                |verb: &'static str| ["-w", verb].into_iter().chain(exception.iter().map(String::as_str));
            if output(tool, &with("-C").collect::<Vec<_>>()).await.is_none()
                && output(tool, &with("-I").collect::<Vec<_>>()).await.is_none()
            {
                tracing::warn!(
                    tool,
                    "forwarding is dropped on this host, and no exception can be made for jobs"
                );
            }
        }
    }
}

/// Removes them. Another runner puts them back with its next namespace.
pub(super) async fn remove() {
    for tool in TOOLS {
        for exception in exceptions() {
            let words: Vec<&str> =
                ["-w", "-D"].into_iter().chain(exception.iter().map(String::as_str)).collect();
            let _ = output(tool, &words).await; // mostly there is none
        }
    }
}

/// What a tool prints, if it is there and succeeds.
async fn output(tool: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .env("PATH", search_path())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let done = tokio::time::timeout(super::COMMAND_DEADLINE, command.output()).await.ok()?.ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}
