//! A grid with no worker at all, whose servers are containers that boot by systemd and cloud-init: from the command to the
//! output, and from the paid hour's edge to nothing left.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hetzner_sim::{Guests, Options, Pace, ServerView, Stand};
use rgrid_core::worker::WorkerStatus;
use rgrid_store::workers::WorkerRow;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::engine::{DEADLINE, Engine, IMAGE, with_engine};
use crate::grid::text;
use crate::server_grid::{Role, ServerGrid};

/// The engine's own machine, as servers see it, old and new.
const GATEWAYS: [&str; 2] = ["172.17.0.1", "[fd00:5::1]"];
/// Addresses out there that jobs may reach, old and new.
const INTERNET: [&str; 2] = ["203.0.113.2", "2001:db8:113::2"];
/// What an hour of the server's type costs, and of its IPv4 address: EUR 0.0184 and 0.0008.
const SERVER_MICROS: i64 = 18_400;
const ADDRESS_MICROS: i64 = 800;
/// The hour's edge, less the margin, and a little.
const TO_THE_EDGE: Duration = Duration::from_secs(3600 - 170);

/// It says what its server's metadata service tells it, and that it is not the network which keeps that silent.
const HELLO: &str = "\
import urllib.request

def ask(address):
    try:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return direct.open(address, timeout=2).read().decode()
    except OSError:
        return 'nothing'

print('hello')
print('IPv4 says', ask('http://203.0.113.2/'))
print('IPv6 says', ask('http://[2001:db8:113::2]/'))
print('the metadata service says', ask('http://169.254.169.254/hetzner/v1/userdata'))
";

#[test]
fn an_empty_grid_buys_a_server_that_boots_runs_a_script_and_is_gone_at_the_hours_edge() {
    with_engine(async |engine| {
        open_internet().await;
        let trip = Trip::begin(&engine, stand(&engine).await, GATEWAYS[0], Vec::new()).await;
        let (server, worker) = trip.hello("here", "here").await;
        trip.is_heard_of_again(&worker).await;
        trip.costs(SERVER_MICROS + ADDRESS_MICROS).await;
        trip.end(&server, &worker).await;
    });
}

#[test]
fn servers_with_ipv6_alone_or_only_a_private_network_become_workers() {
    with_engine(async |engine| {
        open_internet().await;
        let off = |name| (name, "false".to_owned());
        let newer = vec![off("RGRID_PUBLIC_IPV4")];
        let trip = Trip::begin(&engine, stand(&engine).await, GATEWAYS[1], newer).await;
        trip.hello("nothing", "here").await;
        trip.costs(SERVER_MICROS).await;
        trip.stop().await;

        let stand = stand(&engine).await;
        let network = ("RGRID_NETWORK_ID", network(&stand).await.to_string());
        let private = vec![off("RGRID_PUBLIC_IPV4"), off("RGRID_PUBLIC_IPV6"), network];
        let trip = Trip::begin(&engine, stand, GATEWAYS[0], private).await;
        trip.hello("nothing", "nothing").await;
        trip.costs(SERVER_MICROS).await;
        trip.stop().await;
    });
}

async fn stand(engine: &Engine) -> Stand {
    let guests = Guests::Container { image: IMAGE.to_owned(), engine: Some(engine.address()) };
    let pace = Pace::Running { speed: 1 };
    Stand::start(Options { pace, guests, ..Options::default() }).await.unwrap()
}

/// A private network of the project.
async fn network(stand: &Stand) -> u64 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let subnet =
        serde_json::json!({"type": "cloud", "network_zone": "eu-central", "ip_range": "10.0.1.0/24"});
    let body = serde_json::json!({"name": "inside", "ip_range": "10.0.0.0/16", "subnets": [subnet]});
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}/networks", stand.endpoint())).bearer_auth(stand.token());
    let request = request.header("content-type", "application/json").body(body.to_string());
    let answer = request.send().await.unwrap().text().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["network"]["id"].as_u64().unwrap()
}

/// A grid without workers, and whom it buys of.
struct Trip {
    engine: Arc<Engine>,
    stand: Stand,
    grid: ServerGrid,
    port: u16,
    _roles: [Role; 2],
}

impl Trip {
    /// `host` is where servers find the API.
    async fn begin(
        engine: &Arc<Engine>,
        stand: Stand,
        host: &str,
        settings: Vec<(&'static str, String)>,
    ) -> Self {
        let port = ServerGrid::free_port();
        let mut grid = ServerGrid::new().await;
        grid.settings.extend([
            ("API_HOST", "::".to_owned()),
            ("RGRID_PUBLIC_URL", format!("http://{host}:{port}")),
            ("ORCHESTRATOR_ENABLED", "true".to_owned()),
            ("HCLOUD_ENDPOINT", stand.endpoint()),
            ("HETZNER_API_TOKEN", stand.token().to_owned()),
            ("RGRID_SERVER_TYPES", "cpx12".to_owned()),
            ("RGRID_LOCATIONS", "fsn1".to_owned()),
        ]);
        grid.settings.extend(settings);
        let roles = [grid.api(port), grid.orchestrator()];
        Self { engine: engine.clone(), stand, grid, port, _roles: roles }
    }

    fn told(&self) -> String {
        format!("{}\n{}", self.grid.log(), self.engine.journals())
    }

    async fn workers(&self) -> Vec<WorkerRow> {
        self.grid.database.store().workers().await.unwrap()
    }

    /// From the command to its output, by a server that is bought for it.
    async fn hello(&self, ipv4: &str, ipv6: &str) -> (ServerView, WorkerRow) {
        self.grid.script("hello.py", HELLO);
        let mut command = self.grid.rgrid(self.port, &["run", "hello.py"]);
        let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let server = self.engine.until("a server is bought", |_| self.stand.servers().pop()).await;
        let order = self.grid.database.store().servers().await.unwrap().remove(0);
        assert_eq!(order.name, server.name, "it was written down before");
        assert_eq!(self.workers().await[0].status, WorkerStatus::Provisioning);
        self.stand.step(Duration::from_secs(30));
        self.engine.until("the script has ended", |_| run.try_wait().unwrap()).await;
        let said = run.wait_with_output().unwrap();
        assert!(said.status.success(), "{}\n{}", text(&said.stderr), self.told());
        let expected =
            format!("hello\nIPv4 says {ipv4}\nIPv6 says {ipv6}\nthe metadata service says nothing\n");
        assert_eq!(text(&said.stdout), expected, "{}", self.told());

        // It was this server that ran it, in a sandbox.
        let worker = self.workers().await.remove(0);
        let sandbox = worker.sandbox.as_ref().map(|sandbox| sandbox.kind.as_str());
        assert_eq!((&worker.hostname, sandbox), (&server.name, Some("process")), "{}", self.told());
        assert_eq!((worker.status, worker.provider.as_str()), (WorkerStatus::Active, "hetzner"));
        let (_, page) = self.grid.page(self.port, "/executions?limit=1");
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        let attempts = self.grid.attempts(self.port, page["executions"][0]["id"].as_str().unwrap());
        let by = attempts[0]["worker"].as_str();
        assert_eq!((attempts.len(), by), (1, Some(worker.id.to_string().as_str())));
        self.metadata_is_closed();
        (server, worker)
    }

    /// The service is there for root, who saw before the first job that it is for nobody else.
    fn metadata_is_closed(&self) {
        let container = self.engine.running();
        let userdata = "http://169.254.169.254/hetzner/v1/userdata";
        let told = self.engine.docker(&["exec", &container, "curl", "-sf", userdata]);
        assert!(told.unwrap().contains("rgj_"));
        let journal = ["exec", &container, "journalctl", "--no-pager", "--unit=rgrid-runner"];
        let journal = self.engine.docker(&journal).unwrap();
        assert!(journal.contains("the metadata service answers root alone"), "{journal}");
    }

    async fn is_heard_of_again(&self, worker: &WorkerRow) {
        let heard = async || self.workers().await[0].last_heartbeat_at;
        wait_for("it is heard of again", async || heard().await > worker.last_heartbeat_at).await;
    }

    /// Both ledgers, in micro-euros.
    async fn ledgers(&self) -> (i64, i64) {
        let since = self.stand.now() - chrono::TimeDelta::days(1);
        let ours = self.grid.database.store().ledger(since).await.unwrap();
        let theirs = self.stand.ledger().micros;
        (ours.iter().map(|line| line.amount.0).sum(), i64::try_from(theirs).unwrap())
    }

    async fn costs(&self, micros: i64) {
        wait_for("its hour stands in the ledger", async || self.ledgers().await == (micros, micros)).await;
    }

    /// Kept while its hour is paid; then nothing is left, and it has cost no more.
    async fn end(self, server: &ServerView, worker: &WorkerRow) {
        let paid = self.ledgers().await;
        assert_eq!(self.stand.servers()[0].id, server.id, "its hour is paid");
        self.stand.step(TO_THE_EDGE);
        self.engine.until("no server is left", |_| self.stand.servers().is_empty().then_some(())).await;
        self.engine.until("no container is left", Engine::none_left).await;
        let store = self.grid.database.store();
        wait_for("no order is open", async || store.servers().await.unwrap().is_empty()).await;
        let last = self.workers().await.remove(0);
        assert_eq!((last.id, last.status), (worker.id, WorkerStatus::Terminated));
        assert_eq!(self.ledgers().await, paid);
        let asked = self.stand.requests(0);
        let bought = asked.iter().filter(|request| request.method == "POST" && request.path == "/servers");
        assert_eq!(bought.count(), 1);
        self.stop().await;
    }

    async fn stop(self) {
        self.stand.stop().await;
    }
}

/// Puts somebody out there who answers.
async fn open_internet() {
    for (address, how) in [("203.0.113.2/32", &[][..]), ("2001:db8:113::2/128", &["nodad"][..])] {
        let added = Command::new("ip").args(["address", "add", address, "dev", "lo"]).args(how).status();
        assert!(added.unwrap().success());
    }
    for address in INTERNET {
        let listener = TcpListener::bind((address, 80)).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // The question is read, else the answer may be lost.
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nhere").await;
            }
        });
    }
}

/// Waits for a condition; the deadline is only for those that never come true.
async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
