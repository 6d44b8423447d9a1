//! Servers that are processes of this machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hetzner_sim::{Deed, Guests};
use serde_json::json;

use crate::api::{Api, exact};

/// A process does what it is told to by then.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the guest does: it writes down who it is and what its metadata service says, then its number, and stays. The
/// sleep is a child of its own, so that one sees whether the whole group is killed.
const COMMAND: &str = r#"
python3 - > "OUT.new" <<END
import os, urllib.request
print(os.environ["HETZNER_SERVER_NAME"])
print(open(os.environ["HETZNER_USER_DATA"]).read(), end="")
print(urllib.request.urlopen(os.environ["HETZNER_METADATA"] + "/metadata/hostname").read().decode())
END
sleep 1000 & echo $! >> "OUT.new"; mv "OUT.new" OUT; wait
"#;

/// Waits until it is so, and says what.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The lines of the file, once it is there; it is taken away.
async fn lines(out: &Path) -> Vec<String> {
    let text = until("the guest writes", || std::fs::read_to_string(out).ok()).await;
    std::fs::remove_file(out).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// How the process is, `S` and so on; none if there is no such process, or only what is left of it.
fn state(pid: &str) -> Option<char> {
    let stat = std::fs::read_to_string(PathBuf::from("/proc").join(pid).join("stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next().filter(|state| *state != 'Z')
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_lives_as_long_as_its_server_has_power() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut options = exact();
    options.guests = Guests::Process { command: COMMAND.replace("OUT", out.to_str().unwrap()) };
    let api = Api::with(options).await;
    let id = api.running("w").await;
    let first = lines(&out).await;
    assert_eq!(first[..3], ["w", "#cloud-config", "w"]);

    api.post(&format!("/servers/{id}/actions/poweroff"), json!({})).await;
    api.step(5);
    until("it is killed with the power", || state(&first[3]).is_none().then_some(())).await;
    api.post(&format!("/servers/{id}/actions/poweron"), json!({})).await;
    api.step(5);
    let second = lines(&out).await;
    assert!(second[3] != first[3] && state(&second[3]).is_some());

    api.post(&format!("/servers/{id}/actions/reset"), json!({})).await;
    api.step(5);
    let third = lines(&out).await;
    until("the one before is killed", || state(&second[3]).is_none().then_some(())).await;
    api.stand.happen(Deed::CutOff { server: "w".into() }).unwrap();
    until("it is held", || (state(&third[3]) == Some('T')).then_some(())).await;
    api.delete(&format!("/servers/{id}")).await;
    until("it is killed with its server", || state(&third[3]).is_none().then_some(())).await;

    api.running("x").await;
    let last = lines(&out).await;
    api.stand.stop().await;
    until("it is killed with the stand-in", || state(&last[3]).is_none().then_some(())).await;
}
