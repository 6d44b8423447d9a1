//! What a job may try. Each deed says on stdout how far it came: `done`, or `refused: EPERM`.
#![expect(unsafe_code, reason = "a hostile job calls the kernel directly")]
#![expect(clippy::unwrap_used, reason = "a deed that cannot go on fails its test")]
#![expect(clippy::print_stdout, reason = "stdout is how a deed tells its test")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{ForkResult, Pid, fork};

/// A connection that is not refused by then hangs.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// Does one deed, or several, divided by `+`.
pub(crate) fn perform(words: &[&str]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for deed in words.split(|word| *word == "+") {
        code = one(deed);
        let _ = io::stdout().flush();
    }
    code
}

fn one(words: &[&str]) -> ExitCode {
    match words {
        ["exit", code] => return ExitCode::from(code.parse::<u8>().unwrap()),
        ["die", signal] => {
            let signal = signal.parse().unwrap();
            // SAFETY: sends a signal to this process, without Rust's handler for it.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        }
        ["say", text] => println!("{text}"),
        ["copy"] => {
            let mut all = Vec::new();
            io::stdin().read_to_end(&mut all).unwrap();
            io::stdout().write_all(&all).unwrap();
        }
        ["environment"] => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        ["user"] => println!("{} {}", nix::unistd::getuid(), nix::unistd::getgid()),
        ["folder"] => println!("{}", std::env::current_dir().unwrap().display()),
        ["capabilities"] => print!("{}", status_lines("Cap")),
        ["network-namespace"] => println!("{}", fs::read_link("/proc/self/ns/net").unwrap().display()),
        ["read", path] => say(fs::read(path).map(drop)),
        ["list", path] => match fs::read_dir(path) {
            Ok(entries) => {
                let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
                names.sort();
                names.iter().for_each(|name| println!("{}", name.display()));
            }
            Err(error) => say(Err(error)),
        },
        ["write", path] => say(fs::OpenOptions::new().create(true).append(true).open(path).map(drop)),
        ["connect", address] => say(connect(address)),
        ["ask-for-a-name"] => {
            let configured = fs::read_to_string("/etc/resolv.conf").unwrap();
            let server = configured.lines().find_map(|line| line.strip_prefix("nameserver ")).unwrap();
            say(datagram(&format!("{server}:53")));
            say(connect(&format!("{server}:53")));
            say(connect(&format!("{server}:7070")));
        }
        ["datagram", address] => say(datagram(address)),
        ["listen", port] => {
            let _listener = std::net::TcpListener::bind(format!("[::]:{port}")).unwrap();
            println!("listening");
            let _ = io::stdout().flush();
            wait_for_ever();
        }
        ["mount"] => say(call(|| {
            // SAFETY: all pointers are to constants.
            unsafe {
                libc::mount(c"none".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()).into()
            }
        })),
        ["become-root"] => say(call(|| {
            // SAFETY: takes an integer.
            unsafe { libc::setresuid(0, 0, 0).into() }
        })),
        ["su"] => match Command::new("/usr/bin/su").args(["root", "-c", "id -u"]).output() {
            Ok(output) => println!("{} {}", output.status, String::from_utf8_lossy(&output.stdout).trim()),
            Err(error) => say(Err(error)),
        },
        ["unshare"] => {
            say(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).map_err(io::Error::from))
        }
        ["chroot"] => say(nix::unistd::chroot("/tmp").map_err(io::Error::from)),
        ["keyring"] => say(call(|| {
            // SAFETY: takes integers and null pointers.
            unsafe { libc::syscall(libc::SYS_keyctl, 0, -3, 0, 0, 0) }
        })),
        ["bpf"] => say(call(|| {
            // SAFETY: takes integers and a null pointer.
            unsafe { libc::syscall(libc::SYS_bpf, 0, 0, 0) }
        })),
        ["userfaultfd"] => say(call(|| {
            // SAFETY: takes an integer.
            unsafe { libc::syscall(libc::SYS_userfaultfd, 1) }
        })),
        ["vsock"] => say(call(|| {
            // SAFETY: takes integers.
            unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0).into() }
        })),
        ["ptrace", pid] => {
            let pid: libc::pid_t = pid.parse().unwrap();
            say(call(|| {
                // SAFETY: takes integers.
                unsafe { libc::ptrace(libc::PTRACE_ATTACH, pid, 0, 0) }
            }));
        }
        ["signal", pid] => {
            say(kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).map_err(io::Error::from));
        }
        ["processes"] => println!("{}", numbers_in_proc()),
        ["fork", count] => println!("{}", fork_until_refused(count.parse().unwrap())),
        ["eat", bytes] => eat(bytes.parse().unwrap()),
        ["fill", path, bytes] => say(fill(path, bytes.parse().unwrap())),
        ["wait-if-done", path, bytes] => {
            if fs::metadata(path).unwrap().len() >= bytes.parse().unwrap() {
                wait_for_ever();
            }
            return ExitCode::FAILURE;
        }
        ["child-eats", bytes] => {
            // SAFETY: one thread.
            match unsafe { fork() }.unwrap() {
                ForkResult::Parent { .. } => wait_for_ever(), // as a pool waits for its worker
                ForkResult::Child => eat(bytes.parse().unwrap()),
            }
        }
        ["daemon", marker] => daemon(marker),
        ["last-in-line"] => say(call(|| {
            let nothing = libc::sched_param { sched_priority: 0 };
            // SAFETY: reads one integer.
            unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const nothing).into() }
        })),
        ["wait"] => wait_for_ever(),
        ["wait-deaf", ..] => {
            SigSet::all().thread_block().unwrap();
            println!("deaf");
            let _ = io::stdout().flush();
            wait_for_ever();
        }
        ["wait-for-interrupt"] => wait_for(Signal::SIGINT),
        ["family-waits-for-term"] => {
            // SAFETY: one thread.
            let _child = unsafe { fork() }.unwrap();
            wait_for(Signal::SIGTERM);
        }
        other => {
            println!("no such deed: {other:?}");
            return ExitCode::from(99);
        }
    }
    ExitCode::SUCCESS
}

fn say(result: io::Result<()>) {
    match result {
        Ok(()) => println!("done"),
        Err(error) => match error.raw_os_error() {
            Some(number) => println!("refused: {:?}", Errno::from_raw(number)),
            None => println!("refused: {}", error.kind()),
        },
    }
}

fn call(make: impl FnOnce() -> i64) -> io::Result<()> {
    if make() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn status_lines(start: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().filter(|line| line.starts_with(start)).map(|line| format!("{line}\n")).collect()
}

fn connect(address: &str) -> io::Result<()> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_DEADLINE)?;
    stream.set_read_timeout(Some(CONNECT_DEADLINE))?;
    // A user-space stack accepts before it knows the other side: only its word counts.
    stream.read_exact(&mut [0])
}

fn datagram(address: &str) -> io::Result<()> {
    let address: SocketAddr = address.parse().unwrap();
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(CONNECT_DEADLINE))?;
    socket.connect(address)?;
    socket.send(b"?")?;
    socket.recv(&mut [0]).map(drop)
}

fn numbers_in_proc() -> usize {
    let is_number =
        |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    fs::read_dir("/proc").unwrap().flatten().filter(is_number).count()
}

/// How many children there can be at once, at most `count`; they live as long as this process.
fn fork_until_refused(count: u32) -> u32 {
    for made in 0..count {
        // SAFETY: one thread.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { .. }) => {}
            Ok(ForkResult::Child) => wait_for_ever(),
            Err(_) => return made,
        }
    }
    count
}

fn eat(bytes: usize) {
    let step = 1 << 20;
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    while eaten.len() * step < bytes {
        eaten.push(vec![1; step]);
    }
    println!("ate {}", eaten.len() * step);
    let _ = io::stdout().flush();
}

fn fill(path: &str, bytes: u64) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    let step = vec![b'x'; 1 << 20];
    for _ in 0..bytes.div_ceil(step.len() as u64) {
        file.write_all(&step)?;
    }
    file.sync_all()
}

/// Leaves a process behind that has left this one's session and closed its streams.
fn daemon(marker: &str) {
    // SAFETY: one thread.
    if let Ok(ForkResult::Parent { child }) = unsafe { fork() } {
        nix::sys::wait::waitpid(child, None).unwrap();
        println!("left behind");
        return;
    }
    nix::unistd::setsid().unwrap();
    // SAFETY: one thread.
    if let Ok(ForkResult::Parent { .. }) = unsafe { fork() } {
        std::process::exit(0);
    }
    let error = std::os::unix::process::CommandExt::exec(
        Command::new("/proc/self/exe").args(["wait", "+", "say", marker]).stdin(std::process::Stdio::null()),
    );
    panic!("{error}");
}

fn wait_for_ever() -> ! {
    loop {
        nix::unistd::pause();
    }
}

fn wait_for(signal: Signal) {
    let mut set = SigSet::empty();
    set.add(signal);
    set.thread_block().unwrap();
    println!("waiting");
    let _ = io::stdout().flush();
    println!("got {}", set.wait().unwrap());
    let _ = io::stdout().flush();
}
