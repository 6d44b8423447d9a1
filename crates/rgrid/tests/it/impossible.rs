//! What must be impossible from inside a job, whoever runs the grid: the list, and one job that tries all of it while a
//! neighbour works beside it. What may be reached over a network stands in `reach`; what a job may use up in `hostile`.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::libc;
use serde_json::json;

use crate::grid::{Account, Grid, text};
use crate::project::{Process, Project};

/// What is tried, and the Python that tries it. Names in it are `facts` below, or functions of `impossible.py`.
const IMPOSSIBLE: &[(&str, &str)] = &[
    // Processes of others.
    ("see the runner in the process list", "sees_process('runner')"),
    ("see the database in the process list", "sees_process('postgres')"),
    ("see the neighbour in the process list", "sees_process(neighbour_mark)"),
    ("trace the runner", "trace(runner)"),
    ("trace the daemon", "trace(daemon)"),
    ("trace the neighbour", "trace(neighbour)"),
    ("trace the launcher", "trace(1)"),
    ("read the runner's memory", "peek(runner)"),
    ("read the launcher's memory", "peek(1)"),
    ("open the launcher's memory", "read('/proc/1/mem')"),
    ("read the runner's environment", "read(f'/proc/{runner}/environ')"),
    ("read the daemon's environment", "read(f'/proc/{daemon}/environ')"),
    ("read the neighbour's environment", "read(f'/proc/{neighbour}/environ')"),
    ("read the launcher's environment", "read('/proc/1/environ')"),
    ("list the launcher's descriptors", "os.listdir('/proc/1/fd')"),
    ("enter the launcher's root", "os.listdir('/proc/1/root')"),
    ("enter the launcher's working directory", "os.listdir('/proc/1/cwd/')"),
    ("use a descriptor that was left open", "has_descriptor()"),
    ("signal the runner", "os.kill(runner, 9)"),
    ("signal the daemon", "os.kill(daemon, 9)"),
    ("signal the neighbour", "os.kill(neighbour, 9)"),
    ("hold the runner by a descriptor", "call('pidfd_open', runner, 0)"),
    ("change the runner's priority", "os.setpriority(os.PRIO_PROCESS, runner, 19)"),
    ("change the runner's limits", "__import__('resource').prlimit(runner, 7, (3, 3))"),
    // Files of others.
    ("list the grid's folder", "os.listdir(home)"),
    ("read the grid's key", "read(f'{home}/key')"),
    ("read the vault's key", "read(f'{home}/vault.key')"),
    ("read the grid's notice", "read(f'{home}/grid.json')"),
    ("list the objects", "os.listdir(f'{home}/objects')"),
    ("read the worker's credential", "read(identity)"),
    ("read the runner's log", "read(f'{home}/daemon.log')"),
    ("list the database's files", "os.listdir(f'{home}/postgres/data')"),
    ("list the neighbour's folder", "os.listdir(neighbour_root)"),
    ("read the neighbour's file", "read(f'{neighbour_root}/{neighbour_file}')"),
    ("read the neighbour's file where it lies for him", "read(f'/{neighbour_file}')"),
    ("read a file of the user's that was not sent", "read(not_sent)"),
    ("climb to a file that was not sent", "read('../' * 40 + not_sent)"),
    ("climb out by a descriptor", "read(f'/proc/self/root/../../..{not_sent}')"),
    ("follow a link to a file that was not sent", "os.symlink(not_sent, 'link'); read('link')"),
    ("read the passwords", "read('/etc/shadow')"),
    ("follow a link to the passwords", "os.symlink('/etc/shadow', 'shadow.txt'); read('shadow.txt')"),
    ("list the runners", "os.listdir('/run/rgrid/..' + '/rgrid/runner-0.lock')"),
    ("list the kernel's devices", "os.listdir('/sys/class')"),
    ("list the control groups", "os.listdir('/sys/fs/cgroup')"),
    ("open a file by its number", "call('open_by_handle_at', 3, buffer(), 0)"),
    // Writing what is everybody's.
    ("write below /usr", "write('/usr/x')"),
    ("write a program", "write('/usr/bin/env')"),
    ("write below /bin", "write('/bin/x')"),
    ("write a library's folder", "write('/lib/x')"),
    ("write below /etc", "write('/etc/x')"),
    ("write the list of accounts", "write('/etc/passwd')"),
    ("write below /dev", "write('/dev/x')"),
    ("write the launcher", "write('/run/rgrid/launch')"),
    ("write the interpreter", "write(os.path.realpath(sys.executable))"),
    ("write beside the interpreter's modules", "write(os.path.dirname(os.__file__) + '/x.py')"),
    ("remove a system's file", "os.unlink('/usr/bin/env')"),
    ("rename a system's folder", "os.rename('/etc', '/tmp/etc')"),
    ("give a system's program another name", "os.link('/usr/bin/env', '/tmp/env')"),
    ("choose who handles crashes", "write('/proc/sys/kernel/core_pattern')"),
    ("press the kernel's keys", "write('/proc/sysrq-trigger')"),
    ("change a setting of the kernel", "write('/proc/sys/vm/overcommit_memory')"),
    ("be the last one killed", "print(-1000, file=open('/proc/self/oom_score_adj', 'w'), flush=True)"),
    // Becoming somebody else.
    ("become root", "become(lambda: os.setuid(0))"),
    ("become root's group", "become(lambda: os.setgid(0))"),
    ("become the runner's user", "become(lambda: os.setresuid(runner_uid, runner_uid, runner_uid))"),
    ("become the neighbour's user", "become(lambda: os.setresuid(neighbour_uid, -1, -1))"),
    ("give a file to root", "write('own'); become(lambda: os.chown('own', 0, 0), 'own')"),
    ("give a program capabilities", "write('cap'); os.setxattr('cap', 'security.capability', CAPABILITY)"),
    ("be scheduled before everybody", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"),
    ("go first", "os.nice(-5)"),
    // Roots and mounts.
    ("mount a file system in memory", "call('mount', b'none', b'/tmp', b'tmpfs', 0, 0)"),
    ("mount the kernel's files", "call('mount', b'none', b'/tmp', b'sysfs', 0, 0)"),
    ("mount a folder elsewhere", "call('mount', b'/usr', b'/tmp', 0, 4096, 0)"),
    ("make the system writable", "call('mount', 0, b'/usr', 0, 32 | 4096, 0)"),
    ("unmount the system", "call('umount2', b'/usr', 2)"),
    ("unmount what hides processes", "call('umount2', b'/proc', 2)"),
    ("change the root", "os.chroot('/tmp')"),
    ("turn the root", "call('pivot_root', b'/tmp', b'/tmp')"),
    ("mount in the new way", "call('fsopen', b'tmpfs', 0)"),
    ("copy a mount", "call('open_tree', -100, b'/', 1)"),
    ("change a mount", "call('mount_setattr', -100, b'/usr', 0, buffer(32), 32)"),
    ("swap to a file", "write('swap'); call('swapon', b'swap', 0)"),
    // Namespaces.
    ("be in the host's mounts", "same_namespace('mnt')"),
    ("be among the host's processes", "same_namespace('pid')"),
    ("be in the host's network", "same_namespace('net')"),
    ("share memory with the host", "same_namespace('ipc')"),
    ("share names with the host", "same_namespace('uts')"),
    ("make users of its own", "call('unshare', 0x10000000)"),
    ("make mounts of its own", "call('unshare', 0x00020000)"),
    ("make users and mounts of its own", "call('unshare', 0x10020000)"),
    ("make a network of its own", "call('unshare', 0x40000000)"),
    ("make processes of its own", "call('unshare', 0x20000000)"),
    ("clone itself into users of its own", "call('clone', 0x10000000 | 17, 0, 0, 0, 0)"),
    ("clone itself in the new way", "call('clone3', buffer(88), 88)"),
    ("enter the launcher's namespaces", "call('setns', os.open('/proc/1/ns/mnt', os.O_RDONLY), 0)"),
    ("enter a namespace again", "call('setns', os.open('/proc/self/ns/net', os.O_RDONLY), 0)"),
    // The kernel's back rooms.
    ("keep a key with the kernel", "call('add_key', b'user', b'x', b'x', 1, -4)"),
    ("read the kernel's keys", "call('keyctl', 0, -4, 1)"),
    ("load code into the kernel", "call('bpf', 5, buffer(), 72)"),
    ("load a module", "call('finit_module', 0, b'', 0)"),
    ("watch the machine's counters", "call('perf_event_open', buffer(), 0, -1, -1, 0)"),
    ("handle page faults", "call('userfaultfd', 0)"),
    ("queue calls to the kernel", "call('io_uring_setup', 1, buffer())"),
    ("read the kernel's log", "call('syslog', 3, buffer(), 4096)"),
    ("load another kernel", "call('kexec_load', 0, 0, 0, 0)"),
    ("name the machine", "socket.sethostname('mine')"),
    ("set the clock", "__import__('time').clock_settime(0, 1)"),
    ("record who ran what", "call('acct', b'own')"),
    ("stop the machine", "call('reboot', 0xfee1dead, 672274793, 0, 0)"),
    // Devices.
    ("make a disk's device", "os.mknod('disk', 0o060600, os.makedev(8, 0))"),
    ("make a device of the memory", "os.mknod('memory', 0o020600, os.makedev(1, 1))"),
    ("open the memory", "read('/dev/mem')"),
    ("open the kernel's log", "read('/dev/kmsg')"),
    ("open the disk", "read('/dev/vda')"),
    ("open a virtual machine", "read('/dev/kvm')"),
    ("open a tunnel", "read('/dev/net/tun')"),
    ("open a file system of users", "read('/dev/fuse')"),
    ("open the terminal", "read('/dev/tty')"),
    ("type into a terminal", "__import__('fcntl').ioctl(os.openpty()[1], 0x5412, b'x')"),
    // Sockets to others.
    ("talk to the database by its file", "connect(socket.AF_UNIX, f'{home}/postgres/socket/.s.PGSQL.5432')"),
    ("talk to a socket of the user's", "connect(socket.AF_UNIX, host_socket)"),
    ("talk to an abstract socket of the host", "connect(socket.AF_UNIX, '\\0' + abstract_socket)"),
    ("talk to docker", "connect(socket.AF_UNIX, '/var/run/docker.sock')"),
    ("talk to the system", "connect(socket.AF_UNIX, '/run/dbus/system_bus_socket')"),
    ("talk to the API", "connect(socket.AF_INET, ('127.0.0.1', api_port))"),
    ("talk past the network", "socket.socket(40, socket.SOCK_STREAM)"),
    ("listen to the wire", "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)"),
    ("write packets", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"),
    ("reach the kernel's ciphers", "socket.socket(38, socket.SOCK_SEQPACKET)"),
];

/// What must go well in the same job, by the same means: else the refusals above say nothing.
const POSSIBLE: &[(&str, &str)] = &[
    ("see itself in the process list", "sees_process('tries.py')"),
    ("trace its own child", "child = os.fork() or os.kill(os.getpid(), 19); trace(child); os.kill(child, 9)"),
    ("signal its own child", "child = os.fork() or __import__('signal').pause(); os.kill(child, 9)"),
    ("write its own folder", "write('own')"),
    ("write a temporary file", "write('/tmp/x')"),
    ("read its own environment", "read('/proc/self/environ')"),
    ("read the list of accounts", "read('/etc/passwd')"),
    ("talk to itself", "s = socket.create_server(('127.0.0.1', 0)); connect(s.family, s.getsockname())"),
    ("make a system call by its number", "call('getpid')"),
    ("open a device of its own", "write('/dev/null')"),
];

/// How the kernel refuses. Anything else (EFAULT, EINVAL) may be a deed that was tried wrongly.
const REFUSALS: &[&str] = &[
    "EPERM",
    "EACCES",
    "ENOENT",
    "ESRCH",
    "EROFS",
    "ENOSYS",
    "ENXIO",
    "ENOTDIR",
    "ECONNREFUSED",
    "ENETUNREACH",
    "EAFNOSUPPORT",
    "EXDEV",
    "EBUSY",
];

const CALLS: &[(&str, libc::c_long)] = &[
    ("acct", libc::SYS_acct),
    ("add_key", libc::SYS_add_key),
    ("bpf", libc::SYS_bpf),
    ("clone", libc::SYS_clone),
    ("clone3", libc::SYS_clone3),
    ("finit_module", libc::SYS_finit_module),
    ("fsopen", libc::SYS_fsopen),
    ("getpid", libc::SYS_getpid),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("kexec_load", libc::SYS_kexec_load),
    ("keyctl", libc::SYS_keyctl),
    ("mount", libc::SYS_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("open_tree", libc::SYS_open_tree),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pivot_root", libc::SYS_pivot_root),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("ptrace", libc::SYS_ptrace),
    ("reboot", libc::SYS_reboot),
    ("setns", libc::SYS_setns),
    ("swapon", libc::SYS_swapon),
    ("syslog", libc::SYS_syslog),
    ("umount2", libc::SYS_umount2),
    ("unshare", libc::SYS_unshare),
    ("userfaultfd", libc::SYS_userfaultfd),
];

/// Says where it is, and later that its file is as it was.
const NEIGHBOUR: &str = "\
import os, sys
open('mine.txt', 'w').write('mine')
print('here', os.path.abspath('mine.txt'))
sys.stdin.readline()
print('unharmed:', open('mine.txt').read(), sorted(os.listdir('.')))
";

#[test]
fn what_must_be_impossible_is() {
    for account in Account::all() {
        let grid = Arc::new(Grid::of(account));
        let (ours, theirs) = (Project::on(grid.clone()), Project::on(grid.clone()));
        theirs.write("neighbour.py", NEIGHBOUR);
        let mut neighbour = theirs.start(&["--cpu", "1", "--memory", "256M", "neighbour.py", &theirs.name]);
        neighbour.prints("here ");
        neighbour.prints("\n");

        let not_sent = grid.work().join("not_sent.txt");
        fs::write(&not_sent, "not sent").unwrap();
        let host_socket = grid.work().join("socket");
        let _listens = UnixListener::bind(&host_socket).unwrap();
        let abstract_socket = format!("rgrid-test-{}", theirs.name);
        let _listens_too = UnixListener::bind_addr(&abstract_address(&abstract_socket)).unwrap();
        let there = facts(&grid, &theirs, &neighbour, &not_sent, &host_socket, &abstract_socket);
        let deeds: Vec<_> = POSSIBLE.iter().chain(IMPOSSIBLE).collect();
        let calls: serde_json::Map<_, _> =
            CALLS.iter().map(|(name, number)| ((*name).to_owned(), json!(number))).collect();
        ours.write("facts.json", json!({ "there": there, "calls": calls, "deeds": deeds }).to_string());
        ours.write("tries.py", include_str!("impossible.py"));

        let ended = ours.run(&["--cpu", "1", "--memory", "256M", "tries.py"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let said: Vec<&str> = ended.stdout.lines().collect();
        assert_eq!(said.len(), deeds.len(), "{}", ended.stdout);
        let (possible, impossible) = said.split_at(POSSIBLE.len());
        let undone: Vec<_> = possible.iter().filter(|line| !line.ends_with(": DONE")).collect();
        let refused = |line: &str| line.rsplit(": ").next().is_some_and(|word| REFUSALS.contains(&word));
        let done: Vec<_> = impossible.iter().filter(|line| !refused(line)).collect();
        assert!(undone.is_empty() && done.is_empty(), "as {account:?}: {done:#?}, and not: {undone:#?}");

        // Everybody it can reach is itself: the neighbour, the runner and the grid live on.
        ours.write("kills.py", "import os\ntry:\n    os.kill(-1, 9)\nexcept ProcessLookupError:\n    pass\n");
        let ended = ours.run(&["--cpu", "1", "--memory", "256M", "kills.py"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        neighbour.type_in("\n");
        let ended = neighbour.end();
        assert!(ended.stdout.ends_with("unharmed: mine ['mine.txt', 'neighbour.py']\n"), "{}", ended.stdout);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        theirs.nothing_is_left();
        // The links that it made are not followed on the way back either.
        for link in ["link", "shadow.txt"] {
            assert!(fs::symlink_metadata(ours.path(link)).is_err(), "{link} came back");
        }
    }
}

fn abstract_address(name: &str) -> std::os::unix::net::SocketAddr {
    use std::os::linux::net::SocketAddrExt as _;
    std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap()
}

/// What there is outside, each seen to be there.
fn facts(
    grid: &Grid,
    theirs: &Project,
    neighbour: &Process,
    not_sent: &Path,
    host_socket: &Path,
    abstract_socket: &str,
) -> serde_json::Value {
    let pid_of = |word: &str| -> i32 {
        let all = grid.processes();
        let found = all.iter().find(|(_, line)| line.contains(word));
        found.unwrap_or_else(|| panic!("no process with {word}: {all:?}")).0
    };
    let notice = grid.notice();
    let url = notice["url"].as_str().unwrap();
    let home = grid.home();
    let workers = home.join("workers");
    let identity = rgrid_runner::identity_file(&workers);
    let file = neighbour.stdout().trim().strip_prefix("here /").unwrap().to_owned();
    let runner = pid_of("runner --embedded");
    // As root it lies on a file system that only the runner sees mounted.
    let seen_by_runner = PathBuf::from(format!("/proc/{runner}/root"));
    let seen = root_with(&seen_by_runner.join(workers.join("sandbox").strip_prefix("/").unwrap()), &file);
    let root = Path::new("/").join(seen.strip_prefix(&seen_by_runner).unwrap());
    for there in [&identity, &home.join("key"), &home.join("vault.key"), &seen.join(&file)] {
        assert!(there.is_file(), "{} is there", there.display());
    }
    let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
    let namespaces: serde_json::Map<_, _> = ["mnt", "pid", "net", "ipc", "uts"]
        .map(|kind| {
            let link = fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap();
            (kind.to_owned(), json!(link))
        })
        .into_iter()
        .collect();
    json!({
        "runner": runner,
        "daemon": notice["process"]["pid"],
        "neighbour": pid_in_sandbox(&theirs.name),
        "neighbour_mark": theirs.name,
        "neighbour_root": root,
        "neighbour_file": file,
        "neighbour_uid": owner(&seen.join(&file)),
        "runner_uid": owner(&home.join("key")),
        "home": home,
        "identity": identity,
        "not_sent": not_sent,
        "host_socket": host_socket,
        "abstract_socket": abstract_socket,
        "api_port": url.rsplit(':').next().unwrap().parse::<u16>().unwrap(),
        "namespaces": namespaces,
    })
}

/// The workspace below `sandbox` that holds this file.
fn root_with(sandbox: &Path, file: &str) -> PathBuf {
    let below = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let places = below(sandbox).into_iter().chain(below(&sandbox.join("disks")));
    let attempts = places.flat_map(|place| below(&place));
    let mut roots = attempts.map(|attempt| attempt.join("root"));
    roots.find(|root| root.join(file).is_file()).expect("the neighbour's workspace is found")
}

/// The neighbour's script as the host numbers it.
fn pid_in_sandbox(mark: &str) -> i32 {
    let pids =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_it = |pid: &i32| {
        let line = text(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default());
        let words: Vec<&str> = line.split('\0').collect();
        words.contains(&mark)
            && words.iter().any(|word| word.ends_with("neighbour.py"))
            && !words.contains(&"run")
    };
    pids.filter(is_it).last().expect("the neighbour runs")
}
