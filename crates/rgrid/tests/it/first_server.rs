//! A grid with no worker at all, whose servers are containers that boot by systemd and cloud-init: from the command to the
//! output, and from the paid hour's edge to nothing left.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hetzner_sim::{Guests, Options, Pace, Stand};
use rgrid_core::worker::WorkerStatus;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::engine::{DEADLINE, Engine, IMAGE, with_engine};
use crate::grid::text;
use crate::server_grid::ServerGrid;

/// Where servers find the machine of the engine, and so the API.
const GATEWAY: &str = "172.17.0.1";
/// An address out there that jobs may reach.
const INTERNET: &str = "203.0.113.2:80";
/// What one hour of the server's type costs, and of its address: EUR 0.0184 and 0.0008.
const HOUR_MICROS: i64 = 19_200;
/// The hour's edge, less the margin, and a little.
const TO_THE_EDGE: Duration = Duration::from_secs(3600 - 170);

/// It says what its server's metadata service tells it, and that it is not the network which keeps that silent.
const HELLO: &str = "\
import urllib.request

def ask(address):
    try:
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=2).read().decode()
    except OSError:
        return 'nothing'

print('hello')
print('the internet says', ask('http://203.0.113.2/'))
print('the metadata service says', ask('http://169.254.169.254/hetzner/v1/userdata'))
";

#[test]
fn an_empty_grid_buys_a_server_that_boots_runs_a_script_and_is_gone_at_the_hours_edge() {
    with_engine(whole_trip);
}

async fn whole_trip(engine: Arc<Engine>) {
    open_internet().await;
    let guests = Guests::Container { image: IMAGE.to_owned(), engine: Some(engine.address()) };
    let pace = Pace::Running { speed: 1 };
    let stand = Stand::start(Options { pace, guests, ..Options::default() }).await.unwrap();
    let port = ServerGrid::free_port();
    let mut grid = ServerGrid::new().await;
    grid.settings.extend([
        ("API_HOST", "0.0.0.0".to_owned()),
        ("RGRID_PUBLIC_URL", format!("http://{GATEWAY}:{port}")),
        ("ORCHESTRATOR_ENABLED", "true".to_owned()),
        ("HCLOUD_ENDPOINT", stand.endpoint()),
        ("HETZNER_API_TOKEN", stand.token().to_owned()),
        ("RGRID_SERVER_TYPES", "cpx12".to_owned()),
        ("RGRID_LOCATIONS", "fsn1".to_owned()),
    ]);
    let _api = grid.api(port);
    let _orchestrator = grid.orchestrator();
    grid.script("hello.py", HELLO);
    let mut command = grid.rgrid(port, &["run", "hello.py"]);
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

    let store = grid.database.store();
    let server = engine.until("a server is bought", |_| stand.servers().pop()).await;
    assert_eq!(store.servers().await.unwrap()[0].name, server.name, "it was written down before");
    assert_eq!(store.workers().await.unwrap()[0].status, WorkerStatus::Provisioning);
    stand.step(Duration::from_secs(30));
    let container =
        engine.until("it runs", |engine| Some(engine.running()).filter(|name| !name.is_empty())).await;
    engine.until("the script has ended", |_| run.try_wait().unwrap()).await;
    let said = run.wait_with_output().unwrap();
    let told = format!("{}\n{}\n{}", text(&said.stderr), grid.log(), engine.journals());
    assert!(said.status.success(), "{told}");
    assert_eq!(
        text(&said.stdout),
        "hello\nthe internet says here\nthe metadata service says nothing\n",
        "{told}"
    );

    // It was this server that ran it, in a sandbox; it goes on saying that it is there.
    let worker = store.workers().await.unwrap().remove(0);
    let sandbox = worker.sandbox.map(|sandbox| sandbox.kind);
    assert_eq!((&worker.hostname, sandbox.as_deref()), (&server.name, Some("process")), "{told}");
    assert_eq!((worker.status, worker.provider.as_str()), (WorkerStatus::Active, "hetzner"));
    let (_, page) = grid.page(port, "/executions?limit=1");
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    let attempts = grid.attempts(port, page["executions"][0]["id"].as_str().unwrap());
    assert_eq!((attempts.len(), attempts[0]["worker"].as_str()), (1, Some(worker.id.to_string().as_str())));
    let heard = async || store.workers().await.unwrap()[0].last_heartbeat_at;
    wait_for("it is heard of again", async || heard().await > worker.last_heartbeat_at).await;

    // The service is there for root, who saw before the first job that it is for nobody else.
    let userdata = "http://169.254.169.254/hetzner/v1/userdata";
    let told = engine.docker(&["exec", &container, "curl", "-sf", userdata]);
    assert!(told.unwrap().contains("rgj_"));
    let journal = engine.journals();
    assert!(journal.contains("the metadata service answers root alone"), "{journal}");

    let ledgers = async || {
        let since = stand.now() - chrono::TimeDelta::days(1);
        let ours: i64 = store.ledger(since).await.unwrap().iter().map(|line| line.amount.0).sum();
        (ours, i64::try_from(stand.ledger().micros).unwrap())
    };
    wait_for("its hour stands in the ledger", async || ledgers().await == (HOUR_MICROS, HOUR_MICROS)).await;
    assert_eq!(stand.servers().len(), 1, "its hour is paid");
    stand.step(TO_THE_EDGE);
    engine.until("no server is left", |_| stand.servers().is_empty().then_some(())).await;
    engine.until("no container is left", Engine::none_left).await;
    wait_for("no order is open", async || store.servers().await.unwrap().is_empty()).await;
    let last = store.workers().await.unwrap().remove(0);
    assert_eq!((last.id, last.status), (worker.id, WorkerStatus::Terminated));
    assert_eq!(ledgers().await, (HOUR_MICROS, HOUR_MICROS));
    let asked = stand.requests(0);
    let bought = asked.iter().filter(|request| request.method == "POST" && request.path == "/servers");
    assert_eq!(bought.count(), 1);
    stand.stop().await;
}

/// Puts somebody out there who answers.
async fn open_internet() {
    let address = INTERNET.split(':').next().unwrap();
    let added = Command::new("ip").args(["address", "add", &format!("{address}/32"), "dev", "lo"]).status();
    assert!(added.unwrap().success());
    let listener = TcpListener::bind(INTERNET).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // The question is read, else the answer may be lost.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nhere").await;
        }
    });
}

/// Waits for a condition; the deadline is only for those that never come true.
async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
