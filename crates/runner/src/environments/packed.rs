//! How an environment travels: a tar archive under zstd, a blob like any other. Times of files are kept, for compiled
//! modules name the time of their source. What was said when it was built goes along; older archives are without it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::Digest as _;

use super::said;

/// How hard zstd tries: the level above which it gets slow.
const LEVEL: i32 = 3;
/// An environment has at most this many bytes; more is no environment.
const UNPACKED_BYTES_MAX: u64 = 20 << 30;

/// Packs `made/env` with its log into the file `archive`; answers its hash and size.
pub(super) fn pack(made: &Path, archive: &Path) -> io::Result<([u8; 32], u64)> {
    let hashing = Hashing { file: File::create(archive)?, hash: sha2::Sha256::new(), bytes: 0 };
    let mut tar = tar::Builder::new(zstd::Encoder::new(hashing, LEVEL)?);
    tar.follow_symlinks(false);
    tar.append_dir_all("env", made.join("env"))?;
    match File::open(made.join(said::LOG)) {
        Ok(mut log) => tar.append_file(said::LOG, &mut log)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let hashing = tar.into_inner()?.finish()?;
    hashing.file.sync_all()?;
    Ok((hashing.hash.finalize().into(), hashing.bytes))
}

/// Unpacks `archive` so that `made/env` is there. Nothing is written outside of `made`, and nothing belongs to a user
/// or runs as one that the archive names.
pub(super) fn unpack(archive: &Path, made: &Path) -> io::Result<()> {
    let decoder = zstd::Decoder::new(File::open(archive)?)?.take(UNPACKED_BYTES_MAX);
    let mut tar = tar::Archive::new(decoder);
    tar.set_preserve_permissions(true);
    tar.set_preserve_mtime(true);
    tar.set_unpack_xattrs(false);
    // No set-uid, no set-gid.
    tar.set_mask(0o6000);
    tar.unpack(made)?;
    if made.join("env").is_dir() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) }
}

/// Hashes what it writes.
struct Hashing {
    file: File,
    hash: sha2::Sha256,
    bytes: u64,
}

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_was_packed_comes_out_the_same_but_for_the_right_to_become_somebody() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("made");
        std::fs::create_dir_all(made.join("env/bin")).unwrap();
        std::fs::write(made.join("env/bin/tool"), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(made.join("env/bin/tool"), std::fs::Permissions::from_mode(0o4755)).unwrap();
        std::os::unix::fs::symlink("/usr/bin/python3", made.join("env/bin/python")).unwrap();
        let archive = folder.path().join("packed");
        let (hash, bytes) = pack(&made, &archive).unwrap();
        let written = std::fs::read(&archive).unwrap();
        assert_eq!((hash, bytes), (sha2::Sha256::digest(&written).into(), written.len() as u64));
        let out = folder.path().join("out");
        std::fs::create_dir(&out).unwrap();
        unpack(&archive, &out).unwrap();
        let tool = out.join("env/bin/tool");
        assert_eq!(std::fs::read(&tool).unwrap(), b"#!/bin/sh\n");
        assert_eq!(tool.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(tool.metadata().unwrap().modified().unwrap(), {
            let was = made.join("env/bin/tool").metadata().unwrap().modified().unwrap();
            let since = was.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            std::time::UNIX_EPOCH + std::time::Duration::from_secs(since)
        });
        assert_eq!(std::fs::read_link(out.join("env/bin/python")).unwrap(), Path::new("/usr/bin/python3"));
        // As those of earlier versions are: they are of use too.
        assert_eq!(said::read(&out).unwrap(), None);
    }

    #[test]
    fn what_was_said_when_it_was_built_goes_along() {
        let folder = tempfile::tempdir().unwrap();
        let (made, out) = (folder.path().join("made"), folder.path().join("out"));
        std::fs::create_dir_all(made.join("env")).unwrap();
        std::fs::create_dir(&out).unwrap();
        std::fs::write(made.join(said::LOG), "Installed 1 package\n").unwrap();
        let archive = folder.path().join("packed");
        pack(&made, &archive).unwrap();
        unpack(&archive, &out).unwrap();
        assert_eq!(said::read(&out).unwrap().unwrap(), b"Installed 1 package\n");
    }
}
