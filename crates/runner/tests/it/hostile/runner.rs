//! A runner with one job that waits, for tests that kill the runner.
#![expect(clippy::print_stdout, reason = "stdout is how the test learns that the job runs")]
#![expect(clippy::unwrap_used, reason = "a runner that cannot start fails its test")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitCode;

use rgrid_runner::sandbox::{JobLimits, JobSpec, Sandbox, SandboxConfig};

/// Starts a job that waits with the marker among its arguments; says so; waits for ever. With the socket of an engine and
/// an image the job is in a container that has the marker in its name.
pub(crate) fn run(data_folder: PathBuf, marker: OsString, engine: &[OsString]) -> ExitCode {
    let own_mounts = rgrid_runner::sandbox::keep_mounts_to_itself();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let launcher = std::env::current_exe().unwrap();
        let config = SandboxConfig {
            data_folder,
            slots: 1,
            launcher: launcher.clone(),
            allow_host_network: false,
            allow_private_ranges: false,
            blocked: Vec::new(),
            bwrap: None,
            docker_socket: engine.first().map_or_else(PathBuf::new, PathBuf::from),
            images_bytes_max: 0,
            own_mounts,
        };
        let sandbox = match engine {
            [] => Sandbox::process(&config).await.unwrap(),
            [..] => Sandbox::docker(&config).await.unwrap(),
        };
        let place = sandbox.place(0, 1 << 30).unwrap();
        let root = place.folder().join("root");
        fs::create_dir_all(&root).unwrap();
        let null = || File::options().read(true).write(true).open("/dev/null").unwrap().into();
        let job = JobSpec {
            root,
            read_only_binds: vec![(launcher, "/opt/tests/hostile".into())],
            file_binds: Vec::new(),
            command: vec!["/opt/tests/hostile".into(), "wait-deaf".into(), marker.clone()],
            environment: Vec::new(),
            cwd: "/".into(),
            umask: 0o022,
            limits: JobLimits {
                cpu_millis: 1000,
                memory_bytes: 256 << 20,
                disk_bytes: 1 << 30,
                processes: 16,
            },
            network: true,
            slot: 0,
            image: engine.get(1).map(|image| image.to_string_lossy().into_owned()),
            name: format!("rgrid-{}", marker.to_string_lossy()),
            labels: Vec::new(),
            stdin: null(),
            stdout: null(),
            stderr: null(),
        };
        let _running = sandbox.start(job).await.unwrap();
        println!("running");
        std::future::pending::<ExitCode>().await
    })
}
