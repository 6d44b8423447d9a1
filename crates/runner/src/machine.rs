//! What this machine has for attempts, read from the kernel.

use std::fs;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use rgrid_core::worker::Capacity;

/// Cores, memory and disk of the machine, and what of it attempts may have.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: u32,
    /// All memory, or what the container has of it.
    pub memory_total_bytes: u64,
    /// What attempts may have now.
    pub capacity: Capacity,
}

/// Looks at the machine; `workspaces` lies on the disk that jobs write to.
///
/// # Errors
/// When the kernel's tables or the disk cannot be read.
pub fn look(workspaces: &Path) -> std::io::Result<Machine> {
    let cores = std::thread::available_parallelism()?.get() as u32;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let line = |name: &str| {
        meminfo(&memory, name).ok_or_else(|| std::io::Error::other(format!("/proc/meminfo lacks {name}")))
    };
    let total = line("MemTotal")?;
    // A container may have less than its machine.
    let memory_total_bytes = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .fold(total, u64::min);
    let resident = total.saturating_sub(line("MemAvailable")?);
    let disk = statvfs(workspaces).map_err(std::io::Error::from)?;
    let disk_free = disk.blocks_available() * disk.fragment_size();
    let capacity = Capacity::of_machine(cores, memory_total_bytes, resident, disk_free);
    Ok(Machine { cores, memory_total_bytes, capacity })
}

/// A line of `/proc/meminfo`, in bytes.
pub(crate) fn meminfo(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
