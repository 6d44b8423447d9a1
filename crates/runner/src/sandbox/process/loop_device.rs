//! Makes a file a block device for as long as a mount or a descriptor holds it: when the last is gone the kernel takes
//! the device away by itself, also when this process is killed.
#![expect(unsafe_code, reason = "two ioctls have no safe wrapper in nix")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use nix::errno::Errno;

/// Hands out the numbers of free devices.
const CONTROL: &str = "/dev/loop-control";
/// Somebody else may take the device that was free a moment ago.
const TRIES: u32 = 32;
/// What file systems write at once.
const BLOCK_BYTES: u32 = 4096;
/// Gone with its last user; past the page cache of the file below, which would hold everything twice.
const FLAGS: u32 = 4 | 16;

/// The kernel's `struct loop_config`, version 5.8 and later.
#[repr(C)]
struct Configuration {
    file: u32,
    block_bytes: u32,
    device: u64,
    inode: u64,
    real_device: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    names: [[u8; 64]; 2],
    key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

nix::ioctl_none_bad!(next_free, 0x4C82);
nix::ioctl_write_ptr_bad!(configure, 0x4C0A, Configuration);

/// A device whose bytes are those of `file`; it lives as long as the descriptor or a mount of it.
///
/// # Errors
/// When this machine has no such devices, or does not let this process have one.
pub(super) fn attach(file: &File) -> io::Result<(PathBuf, File)> {
    let control = File::options().read(true).write(true).open(CONTROL)?;
    let number = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    for _ in 0..TRIES {
        // SAFETY: takes no argument.
        let free = unsafe { next_free(control.as_raw_fd()) }?;
        let path = PathBuf::from(format!("/dev/loop{free}"));
        let device = File::options().read(true).write(true).open(&path)?;
        let wanted = Configuration {
            file: number,
            block_bytes: BLOCK_BYTES,
            device: 0,
            inode: 0,
            real_device: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encryption: [0; 2],
            flags: FLAGS,
            names: [[0; 64]; 2],
            key: [0; 32],
            init: [0; 2],
            reserved: [0; 8],
        };
        // SAFETY: the kernel reads the structure, which has its layout, and keeps nothing of it.
        match unsafe { configure(device.as_raw_fd(), &raw const wanted) } {
            Ok(_) => return Ok((path, device)),
            Err(Errno::EBUSY) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::from(Errno::EBUSY))
}
