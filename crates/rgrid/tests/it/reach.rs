//! What jobs reach over a network, whoever runs the grid: a grid in a world of the test's own, a host with addresses of
//! all kinds on which somebody listens, and beyond it others who listen too.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use crate::grid::{Account, Grid, until};
use crate::project::Project;

/// Somebody listens here on every address.
const PORT: u16 = 7070;
/// Where a PostgreSQL would.
const POSTGRES_PORT: u16 = 5432;
/// Addresses of the host.
const HOST: &[&str] =
    &["127.0.0.1", "::1", "169.254.169.254", "203.0.113.1", "10.77.0.1", "2001:db8:113::1", "fd77::1"];
/// Out there: everybody may go there, and where the operator says so.
const PERMITTED: &[&str] = &["203.0.113.2", "10.77.0.2"];

/// Answers everybody, on all addresses, at the ports that it is given.
const LISTENS: &str = "\
import socket, sys, threading
def tcp(port):
    server = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
    held = []  # closed with something unread in it, a connection is reset before its answer is read
    while True:
        held.append(server.accept()[0])
        held[-1].sendall(b'!')
def udp(port):
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(('::', port))
    while True:
        server.sendto(b'!', server.recvfrom(1)[1])
for port in map(int, sys.argv[1:]):
    for kind in tcp, udp:
        threading.Thread(target=kind, args=(port,)).start()
";

/// Says which of the targets answer.
const TRIES: &str = "\
import concurrent.futures, itertools, json, socket, struct
def answers(kind, address, port):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    with socket.socket(family, kind) as client:
        client.settimeout(5)
        try:
            client.connect((address, port))
            client.send(b'?')
            return client.recv(1) == b'!'
        except OSError:
            return False
targets = json.load(open('targets.json'))
gateways = [line.split()[2] for line in open('/proc/net/route') if line.split()[1] == '00000000']
gateways = [socket.inet_ntoa(struct.pack('<I', int(gateway, 16))) for gateway in gateways]
kinds = socket.SOCK_STREAM, socket.SOCK_DGRAM
tries = list(itertools.product(targets['addresses'] + gateways, targets['ports'], kinds))
with concurrent.futures.ThreadPoolExecutor(len(tries)) as pool:
    answered = list(pool.map(lambda one: answers(one[2], one[0], one[1]), tries))
for (address, port, kind), answer in zip(tries, answered):
    if answer:
        print(address, port, kind.name)
";

/// Its addresses, and those of the machine beyond; the tun device is everybody's, as it is on most machines.
const WORLD: &str = "\
set -e
mount --make-rprivate /
if [ -e /dev/net/tun ]; then mknod -m 666 \"$2/tun\" c 10 200; mount --bind \"$2/tun\" /dev/net/tun; fi
ip link set lo up
ip link add wan type veth peer name eth0 netns \"$1\"
ip link set wan up
for address in 203.0.113.1/24 10.77.0.1/24 169.254.169.254/32; do ip address add $address dev wan; done
for address in 2001:db8:113::1/64 fd77::1/64; do ip address add $address dev wan nodad; done
beyond='nsenter --net=/proc/'$1'/ns/net'
$beyond ip link set lo up
$beyond ip link set eth0 up
for address in 203.0.113.2/24 10.77.0.2/24; do $beyond ip address add $address dev eth0; done
$beyond ip address add 2001:db8:113::2/64 dev eth0 nodad
ip route add default via 203.0.113.2
ip route add default via 2001:db8:113::2
";

/// A process of the world, gone with it.
struct Dweller(Child);

impl Dweller {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Dweller {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_job_reaches_what_is_permitted_and_nothing_of_the_host() {
    if !nix::unistd::Uid::effective().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        return;
    }
    for account in Account::all() {
        // The thread's own: nothing else of this process goes there.
        std::thread::spawn(move || in_a_world(account)).join().unwrap();
    }
}

fn in_a_world(account: Account) {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
    let place = tempfile::tempdir().unwrap();
    let listens = place.path().join("listens.py");
    fs::write(&listens, LISTENS).unwrap();
    let grid = Arc::new(Grid::of(account));
    let python = grid.python();
    let ports = [PORT.to_string(), POSTGRES_PORT.to_string()];
    let beyond = {
        let mut command = Command::new("unshare");
        Dweller::start(command.arg("--net").arg(&python).arg(&listens).args(&ports))
    };
    let pid = beyond.0.id();
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let its = format!("/proc/{pid}/ns/net");
    until("the machine beyond has a network of its own", || fs::read_link(&its).is_ok_and(|its| its != own));
    let made =
        Command::new("sh").args(["-c", WORLD, "sh", &pid.to_string()]).arg(place.path()).status().unwrap();
    assert!(made.success(), "the world is made");
    let _host = Dweller::start(Command::new(&python).arg(&listens).args(&ports));
    for address in HOST.iter().chain(PERMITTED) {
        until(&format!("somebody answers at {address}"), || answers(address, PORT));
    }

    let mut up = grid.rgrid(&["up"]);
    let up = up.env("RGRID_ALLOW_PRIVATE_ADDRESSES", "true").output().unwrap();
    assert!(up.status.success(), "{}", grid.log());
    let url = grid.notice()["url"].as_str().unwrap().to_owned();
    let api_port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    let project = Project::on(grid.clone());
    let addresses: Vec<_> = HOST.iter().chain(PERMITTED).collect();
    let targets = serde_json::json!({ "addresses": addresses, "ports": [PORT, POSTGRES_PORT, api_port] });
    project.write("targets.json", targets.to_string());
    project.write("tries.py", TRIES);
    assert!(grid.has_network(), "jobs of {account:?} have a network");
    let ended = project.run(&["tries.py"]);
    let mut reached = String::new();
    for address in PERMITTED {
        for port in [PORT, POSTGRES_PORT] {
            reached += &format!("{address} {port} SOCK_STREAM\n{address} {port} SOCK_DGRAM\n");
        }
    }
    ended.printed(&reached);
    for address in HOST {
        assert!(answers(address, PORT), "{address} answered to the end");
    }
    assert!(TcpStream::connect(("127.0.0.1", api_port)).is_ok());
    grid.success(&["down"]);
}

fn answers(address: &str, port: u16) -> bool {
    let target = (address.parse::<std::net::IpAddr>().unwrap(), port).into();
    let Ok(mut stream) = TcpStream::connect_timeout(&target, Duration::from_secs(1)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).is_ok() && byte == *b"!"
}
