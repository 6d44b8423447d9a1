//! The world of a test: a network in namespaces that the test made, with a host that has addresses of all kinds, and beyond
//! it an "internet" of one machine. What runs in it is the ground's (`ground.rs`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Uid;

use crate::ground::is_in_containers;

/// An address out there that jobs may reach.
pub(crate) const INTERNET: &str = "203.0.113.2";
/// The same, newer.
pub(crate) const INTERNET_V6: &str = "2001:db8:113::2";
/// A private address out there.
pub(crate) const PRIVATE: &str = "10.77.0.2";
/// Addresses of the host itself.
pub(crate) const HOST: &[&str] = &["127.0.0.1", "169.254.169.254", "203.0.113.1", "10.77.0.1"];
/// The same, newer.
pub(crate) const HOST_V6: &[&str] = &["::1", "2001:db8:113::1", "fd77::1"];

/// Puts this thread, and all it starts, into a network of its own: a host with addresses of all kinds, and beyond it an
/// "internet" of one machine.
pub(crate) fn make_world() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    // A stub's real servers are not to be found in this world.
    if Path::new("/run/systemd/resolve").exists() {
        mount(Some("none"), "/run/systemd/resolve", Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
    }
    bind_resolver();
    let internet = elsewhere(None, || File::open("/proc/thread-self/ns/net").unwrap());
    ip(
        Some(&internet),
        &format!(
            "link set lo up\nlink add wan type veth peer name eth0 netns /proc/self/fd/{}\nlink set wan up\n\
             address add 203.0.113.1/24 dev wan\naddress add 2001:db8:113::1/64 dev wan nodad\n\
             address add 10.77.0.1/24 dev wan\naddress add fd77::1/64 dev wan nodad\n\
             address add 169.254.169.254/32 dev wan\n",
            internet.as_raw_fd()
        ),
    );
    elsewhere(Some(&internet), || {
        ip(
            None,
            "link set lo up\nlink set eth0 up\naddress add 203.0.113.2/24 dev eth0\n\
             address add 2001:db8:113::2/64 dev eth0 nodad\naddress add 10.77.0.2/24 dev eth0\n",
        );
    });
    ip(None, "route add default via 203.0.113.2\nroute add default via 2001:db8:113::2\n");
    INTERNET_NAMESPACE.with(|place| *place.borrow_mut() = Some(internet));
}

/// Gives this thread's world a `resolv.conf` of its own.
pub(crate) fn bind_resolver() {
    let resolver = tempfile::NamedTempFile::new().unwrap();
    fs::set_permissions(resolver.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let nothing: Option<&str> = None;
    mount(Some(resolver.path()), "/etc/resolv.conf", nothing, MsFlags::MS_BIND, nothing).unwrap();
    use_name_server(PRIVATE);
}

/// Names are to be asked for there, as the host's `resolv.conf` says.
pub(crate) fn use_name_server(address: &str) {
    if Uid::effective().is_root() {
        // The bound file itself; for the second run it stays as the first one wrote it.
        fs::write("/etc/resolv.conf", format!("nameserver {address}\n")).unwrap();
    }
}

thread_local! {
    static INTERNET_NAMESPACE: std::cell::RefCell<Option<File>> = const { std::cell::RefCell::new(None) };
}

/// The internet of this thread's world.
pub(crate) fn internet() -> File {
    INTERNET_NAMESPACE.with(|place| place.borrow().as_ref().unwrap().try_clone().unwrap())
}

/// This thread is in a world with that internet now.
pub(crate) fn set_internet(internet: File) {
    INTERNET_NAMESPACE.with(|place| *place.borrow_mut() = Some(internet));
}

/// Does something out there, in the internet of a world.
pub(crate) fn out_there<T: Send>(internet: &File, work: impl FnOnce() -> T + Send) -> T {
    elsewhere(Some(internet), work)
}

/// Does something in a thread of another network: a given one, or a new one.
fn elsewhere<T: Send>(namespace: Option<&File>, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            match namespace {
                Some(namespace) => setns(namespace, CloneFlags::CLONE_NEWNET).unwrap(),
                None => unshare(CloneFlags::CLONE_NEWNET).unwrap(),
            }
            work()
        });
        thread.join().unwrap()
    })
}

fn ip(inherit: Option<&File>, batch: &str) {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).stdin(std::process::Stdio::piped());
    let copy: Option<OwnedFd> = inherit.map(|file| file.try_clone().unwrap().into());
    if let Some(copy) = &copy {
        nix::fcntl::fcntl(copy, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    }
    let number = inherit.map_or(-1, AsRawFd::as_raw_fd).to_string();
    let copied = copy.as_ref().map_or(-1, AsRawFd::as_raw_fd).to_string();
    let mut child = command.spawn().unwrap();
    let batch = batch.replace(&format!("/fd/{number}"), &format!("/fd/{copied}"));
    child.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "ip: {batch}");
}

/// Answers one byte to whoever connects or sends, on every address of the host and out there, as long as it lives.
pub(crate) fn listen_everywhere() -> u16 {
    // Below the ephemeral ports, so that no connection of the test takes it.
    let port = 7070;
    if !Uid::effective().is_root() {
        return port; // the first run still listens
    }
    let internet =
        INTERNET_NAMESPACE.with(|place| place.borrow().as_ref().map(|file| file.try_clone().unwrap()));
    if is_in_containers() {
        // One world for all of them.
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| listen_in(internet.as_ref(), port));
    } else {
        listen_in(internet.as_ref(), port);
    }
    port
}

fn listen_in(internet: Option<&File>, port: u16) {
    let everywhere = |port| SocketAddr::from(([0u16; 8], port)); // IPv4 too
    listen(everywhere(port));
    elsewhere(internet, || {
        listen(everywhere(port));
        listen(everywhere(53));
    });
}

/// Answers one byte at this address.
pub(crate) fn listen(address: SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    let socket = UdpSocket::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.write_all(b"!");
        }
    });
    std::thread::spawn(move || {
        let mut byte = [0];
        while let Ok((_, from)) = socket.recv_from(&mut byte) {
            let _ = socket.send_to(b"!", from);
        }
    });
}
