//! `/etc` of a slot: a small copy, bound read-only as one folder, because each mount costs a job's start.
//!
//! Only what programs need to name users, hosts, zones, libraries and certificates. Nothing secret of the host: no
//! `shadow`, no keys, no configuration of services.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Files that are copied.
const FILES: &[&str] = &[
    "ld.so.cache",
    "ld.so.conf",
    "locale.alias",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "protocols",
    "rpc",
    "services",
    "timezone",
];

/// Folders that are copied, by the start of their names; only files and links, `private` ones left out.
const FOLDERS: &[&str] = &["ld.so.conf.d", "python3"];

/// Folders that are bound as they are: too many files to copy at each start of a runner.
pub(super) const BOUND: &[&str] = &["alternatives", "fonts", "pki", "ssl"];

/// How deep folders are copied, and how many files.
const DEPTH_MAX: u32 = 6;
const FILES_MAX: u32 = 10_000;

/// The host name inside.
pub(super) const HOSTNAME: &str = "rgrid";

/// One slot's `/etc`.
#[derive(Debug)]
pub(super) struct SlotEtc {
    folder: PathBuf,
    user: (u32, u32),
    /// A job had something of its own mounted in it: the next one must not see its name.
    changed: bool,
}

impl SlotEtc {
    /// Makes the copy, with a user of this number.
    pub(super) fn make(folder: PathBuf, uid: u32, gid: u32) -> io::Result<Self> {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        let mut left = FILES_MAX;
        for name in FILES {
            copy(&Path::new("/etc").join(name), &folder.join(name), 0, &mut left)?;
        }
        for entry in fs::read_dir("/etc")?.flatten() {
            let name = entry.file_name();
            if FOLDERS.iter().any(|start| name.as_encoded_bytes().starts_with(start.as_bytes())) {
                copy(&entry.path(), &folder.join(name), DEPTH_MAX, &mut left)?;
            }
        }
        for name in BOUND.iter().filter(|name| Path::new("/etc").join(name).is_dir()) {
            fs::create_dir(folder.join(name))?;
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755))?;
        }
        let (passwd, group) = users(uid, gid);
        write(&folder.join("passwd"), &passwd)?;
        write(&folder.join("group"), &group)?;
        write(&folder.join("hostname"), &format!("{HOSTNAME}\n"))?;
        let hosts =
            format!("127.0.0.1 localhost {HOSTNAME}\n::1 localhost ip6-localhost ip6-loopback {HOSTNAME}\n");
        write(&folder.join("hosts"), &hosts)?;
        let etc = Self { folder, user: (uid, gid), changed: false };
        etc.set_resolver("")?;
        Ok(etc)
    }

    /// Where it lies on the host.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same, to make a mount point there.
    pub(super) fn changed_folder(&mut self) -> &Path {
        self.changed = true;
        &self.folder
    }

    /// Makes it anew, if a job changed it.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        if self.changed {
            *self = Self::make(self.folder.clone(), self.user.0, self.user.1)?;
        }
        Ok(())
    }

    /// What `resolv.conf` says.
    pub(super) fn set_resolver(&self, text: &str) -> io::Result<()> {
        let path = self.folder.join("resolv.conf");
        if fs::read_to_string(&path).is_ok_and(|now| now == text) {
            return Ok(());
        }
        write(&path, text)
    }
}

/// `passwd` and `group` with a user of this number.
pub(in super::super) fn users(uid: u32, gid: u32) -> (String, String) {
    let passwd = format!(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n\
         rgrid:x:{uid}:{gid}:rgrid:/:/bin/sh\n"
    );
    (passwd, format!("root:x:0:\nnogroup:x:65534:\nrgrid:x:{gid}:\n"))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// Copies a file, a link or, while `depth` lasts, a folder. What this user may not read is left out.
fn copy(from: &Path, to: &Path, depth: u32, left: &mut u32) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(from) else { return Ok(()) };
    if *left == 0 || from.file_name().is_some_and(|name| name == "private") {
        return Ok(());
    }
    *left -= 1;
    if found.is_symlink() {
        let target = fs::read_link(from)?;
        // A link into what jobs see stays a link: programs read the time zone's name from it.
        let seen =
            fs::canonicalize(from).is_ok_and(|path| path.starts_with("/usr") || path.starts_with("/etc/ssl"));
        if seen || depth > 0 {
            return symlink(target, to);
        }
    } else if found.is_dir() {
        if depth == 0 {
            return Ok(());
        }
        let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
        fs::create_dir(to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
        for entry in entries.flatten() {
            copy(&entry.path(), &to.join(entry.file_name()), depth - 1, left)?;
        }
        return Ok(());
    }
    // Followed: the content counts. Only what everybody may read.
    match fs::metadata(from) {
        Ok(found) if found.is_file() && found.permissions().mode() & 0o004 != 0 => {
            fs::copy(from, to)?;
            fs::set_permissions(to, fs::Permissions::from_mode(0o644))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}
