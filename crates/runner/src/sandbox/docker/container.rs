//! What a container is made of, as data: the request to the engine for one job.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType, ResourcesUlimits,
};

use super::super::{JobLimits, SandboxError};
use super::mounts::Bind;
use super::owner;

/// The host name inside, as in the process sandbox.
const HOSTNAME: &str = "rgrid";
/// Processes of ours beside the job's: what starts it.
const OWN_PROCESSES: i64 = 1;
/// A file may be said to be this much longer than the disk is big, so that a full disk is seen as one.
const FILE_SLACK_BYTES: u64 = 1 << 20;

/// What a container is to be.
pub(super) struct Wanted<'a> {
    /// The image, by its id.
    pub(super) image: &'a str,
    /// What is run as process 1.
    pub(super) entrypoint: Vec<String>,
    /// The user and group of all its processes: never root.
    pub(super) user: (u32, u32),
    pub(super) limits: JobLimits,
    pub(super) binds: &'a [Bind],
    /// For people who look: the execution, the attempt, the grid.
    pub(super) labels: &'a [(String, String)],
    /// Whose it is.
    pub(super) owner: &'a str,
}

/// Puts the request together.
pub(super) fn request(wanted: &Wanted<'_>) -> Result<ContainerCreateBody, SandboxError> {
    let (uid, gid) = wanted.user;
    let mut labels: HashMap<String, String> = wanted.labels.iter().cloned().collect();
    labels.insert(owner::LABEL.to_owned(), wanted.owner.to_owned());
    let mounts = wanted.binds.iter().map(mount).collect::<Result<Vec<_>, _>>()?;
    let limits = &wanted.limits;
    let memory = signed(limits.memory_bytes);
    let unlimited_disk = limits.disk_bytes.saturating_add(FILE_SLACK_BYTES);
    Ok(ContainerCreateBody {
        hostname: Some(HOSTNAME.to_owned()),
        user: Some(format!("{uid}:{gid}")),
        image: Some(wanted.image.to_owned()),
        entrypoint: Some(wanted.entrypoint.clone()),
        cmd: Some(Vec::new()),
        working_dir: Some("/".to_owned()),
        labels: Some(labels),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        network_disabled: Some(true), // we give it one
        host_config: Some(HostConfig {
            readonly_rootfs: Some(true),
            privileged: Some(false),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            network_mode: Some("none".to_owned()),
            ipc_mode: Some("private".to_owned()),
            memory: Some(memory),
            // Together with swap: so none of that.
            memory_swap: Some(memory),
            nano_cpus: Some(i64::from(limits.cpu_millis) * 1_000_000),
            pids_limit: Some(i64::from(limits.processes) + OWN_PROCESSES),
            shm_size: Some(memory),
            ulimits: Some(vec![ulimit("core", 0), ulimit("fsize", signed(unlimited_disk))]),
            mounts: Some(mounts),
            // Gone with its end, whoever is there to see it.
            auto_remove: Some(true),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    })
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn ulimit(name: &str, value: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(value), hard: Some(value) }
}

fn mount(bind: &Bind) -> Result<Mount, SandboxError> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).ok_or_else(|| {
            SandboxError::Refused(format!("{} is not valid UTF-8, as Docker needs it", path.display()))
        })
    };
    let bind_options = MountBindOptions {
        propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
        ..MountBindOptions::default()
    };
    Ok(Mount {
        typ: Some(MountType::BIND),
        source: Some(text(&bind.host)?),
        target: Some(text(&bind.inside)?),
        read_only: Some(!bind.writable),
        bind_options: Some(bind_options),
        ..Mount::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_no_rights_and_all_limits() {
        let wanted = Wanted {
            image: "sha256:0",
            entrypoint: vec!["python3".to_owned()],
            user: (1_900_000_000, 1_900_000_000),
            limits: JobLimits {
                cpu_millis: 1500,
                memory_bytes: 64 << 20,
                disk_bytes: 1 << 30,
                processes: 20,
            },
            binds: &[Bind { host: "/data/home".into(), inside: "/home".into(), writable: true }],
            labels: &[],
            owner: "1 2 pid:[3]",
        };
        let request = request(&wanted).unwrap();
        let host = request.host_config.unwrap();
        assert_eq!(request.user.as_deref(), Some("1900000000:1900000000"));
        assert_eq!((host.privileged, host.readonly_rootfs), (Some(false), Some(true)));
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(host.cap_add, None);
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!((host.nano_cpus, host.pids_limit), (Some(1_500_000_000), Some(21)));
        assert_eq!((host.pid_mode, host.userns_mode, host.devices), (None, None, None));
    }
}
