//! Which system calls a job is refused: a list as data, and its translation for the kernel.
//!
//! A list of what is refused, not of what is allowed: scripts bring libraries nobody here knows. What stands here
//! reaches the kernel's rarely used or privileged corners, which neither files nor network of a job need.

use nix::libc;

/// Refused with EPERM, whatever the arguments.
const REFUSED: &[libc::c_long] = &[
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_open_by_handle_at,
    // Namespaces of others.
    libc::SYS_setns,
    // The kernel's key rings are not divided by namespaces.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Code in the kernel, and what has most often led there.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    // The machine itself.
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_syslog,
    libc::SYS_vhangup,
];

/// Socket families a job may use. Others are drivers with their own bugs, or (vsock) leave the machine past any
/// network namespace.
const FAMILIES: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// `clone` and `unshare` flags that make namespaces, and with them capabilities.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Terminal requests that type into another session's terminal.
const TERMINAL_REQUESTS: &[libc::c_ulong] = &[libc::TIOCSTI, libc::TIOCLINUX];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// Offsets in `struct seccomp_data`; arguments are 64 bits wide, low half first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// The filter as bytes in memory, for a launcher in another language.
pub(in super::super) fn bytes() -> Vec<u8> {
    let bytes = |step: libc::sock_filter| {
        let (code, k) = (step.code.to_ne_bytes(), step.k.to_ne_bytes());
        [&code[..], &[step.jt, step.jf], &k[..]].concat()
    };
    program().into_iter().flat_map(bytes).collect()
}

/// The filter as the kernel takes it.
pub(super) fn program() -> Vec<libc::sock_filter> {
    let refuse = errno(libc::EPERM);
    let mut program = vec![
        load(ARCH),
        // Calls of another architecture (32-bit, x32) have other numbers: none is let through.
        when_equal(ARCHITECTURE, 1, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    #[cfg(target_arch = "x86_64")]
    program.extend([jump(libc::BPF_JGE, 0x4000_0000, 0, 1), errno(libc::ENOSYS)]);
    for &call in REFUSED {
        program.extend([when_equal(number(call), 0, 1), refuse]);
    }
    // clone3 passes its flags in memory, where no filter can look: libraries fall back to clone.
    program.extend([when_equal(number(libc::SYS_clone3), 0, 1), errno(libc::ENOSYS)]);
    for call in [libc::SYS_clone, libc::SYS_unshare] {
        program.extend([
            when_equal(number(call), 0, 4),
            load(argument(0)),
            jump(libc::BPF_JSET, NAMESPACES.cast_unsigned(), 0, 1),
            refuse,
            allow(),
        ]);
    }
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        let families = u8::try_from(FAMILIES.len()).expect("a handful of families");
        program.extend([when_equal(number(call), 0, families + 3), load(argument(0))]);
        for (index, &family) in (0u8..).zip(FAMILIES) {
            program.push(when_equal(family.cast_unsigned(), families - index, 0));
        }
        program.extend([errno(libc::EAFNOSUPPORT), allow()]);
    }
    let requests = u8::try_from(TERMINAL_REQUESTS.len()).expect("a handful of requests");
    program.extend([when_equal(number(libc::SYS_ioctl), 0, requests + 3), load(argument(1))]);
    for (index, &request) in (0u8..).zip(TERMINAL_REQUESTS) {
        let request = u32::try_from(request).expect("terminal requests have 32 bits");
        program.push(when_equal(request, requests - index, 0));
    }
    program.extend([allow(), refuse]);
    program.push(allow());
    program
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("system call numbers are small and positive")
}

fn statement(code: u32, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).expect("BPF codes have 16 bits"), jt: 0, jf: 0, k: value }
}

fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn jump(test: u32, value: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    let code = u16::try_from(libc::BPF_JMP | test | libc::BPF_K).expect("BPF codes have 16 bits");
    libc::sock_filter { code, jt: then, jf: otherwise, k: value }
}

fn when_equal(value: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    jump(libc::BPF_JEQ, value, then, otherwise)
}

fn errno(value: libc::c_int) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | value.cast_unsigned())
}

fn allow() -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW)
}
