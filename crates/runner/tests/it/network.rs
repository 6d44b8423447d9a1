//! What a job reaches, and what it must not. Every test runs as root and again as an ordinary user.

use crate::ground::{Ground, Job, as_root, in_every_mode, in_every_sandbox, job};
use crate::world::{
    HOST, HOST_V6, INTERNET, INTERNET_V6, PRIVATE, listen, listen_everywhere, use_name_server,
};

fn with_network<'a>(words: &'a [&'a str]) -> Job<'a> {
    Job { network: true, ..job(words) }
}

/// What a job says about each address, `connect` and `datagram`.
async fn reach(ground: &Ground, slot: u32, addresses: &[&str], port: u16) -> Vec<String> {
    let targets: Vec<String> =
        addresses
            .iter()
            .map(|address| {
                if address.contains(':') {
                    format!("[{address}]:{port}")
                } else {
                    format!("{address}:{port}")
                }
            })
            .collect();
    let mut words = Vec::new();
    for target in &targets {
        words.extend(["connect", target, "+", "datagram", target, "+"]);
    }
    words.pop();
    let ended = ground.run(Job { slot, ..with_network(&words) }).await;
    ended.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_job_reaches_the_internet_but_no_address_of_the_host() {
    in_every_sandbox(async || {
        let port = listen_everywhere();
        let ground = Ground::new(|_| {}).await;
        assert_ne!(ground.sandbox.describe().network, "none");
        assert_eq!(reach(&ground, 0, &[INTERNET], port).await, ["done", "done"]);
        for address in HOST.iter().chain(HOST_V6).chain(&[PRIVATE, "fe80::1", "::ffff:127.0.0.1"]) {
            let said = reach(&ground, 0, &[address], port).await;
            assert!(
                said.len() == 2 && said.iter().all(|line| line.starts_with("refused")),
                "{address}: {said:?}"
            );
        }
        // And after all that the listener is still there.
        assert_eq!(reach(&ground, 1, &[INTERNET], port).await, ["done", "done"]);
        ground.close().await;
    });
}

#[test]
fn a_job_reaches_private_addresses_only_when_the_operator_allows_it() {
    in_every_sandbox(async || {
        let port = listen_everywhere();
        let ground = Ground::new(|config| config.allow_private_ranges = true).await;
        assert_eq!(reach(&ground, 0, &[PRIVATE], port).await, ["done", "done"]);
        let said = reach(&ground, 0, HOST, port).await;
        assert!(said.iter().all(|line| line.starts_with("refused")), "{said:?}");
        ground.close().await;
    });
}

#[test]
fn a_job_reaches_the_hosts_name_server_and_nothing_else_of_it() {
    in_every_sandbox(async || {
        listen_everywhere();
        let ground = Ground::new(|_| {}).await;
        let ended = ground.run(with_network(&["ask-for-a-name"])).await;
        let said: Vec<&str> = ended.stdout.lines().collect();
        assert_eq!(said[0], "done", "{ended:?}");
        assert!(said[1] == "done" || !ground.root, "{ended:?}"); // pasta passes on datagrams only
        assert!(said[2].starts_with("refused"), "{ended:?}");
        ground.close().await;
    });
}

#[test]
fn a_job_reaches_a_name_server_that_listens_on_the_hosts_loopback_alone() {
    in_every_sandbox(async || {
        use_name_server("127.0.0.53");
        listen_everywhere();
        if nix::unistd::Uid::effective().is_root() {
            listen("127.0.0.53:53".parse().unwrap());
        }
        let ground = Ground::new(|_| {}).await;
        let ended = ground.run(with_network(&["ask-for-a-name"])).await;
        let said: Vec<&str> = ended.stdout.lines().collect();
        assert_eq!(said[0], "done", "{ended:?}");
        assert!(said[1] == "done" || !ground.root, "{ended:?}"); // pasta passes on datagrams only
        assert!(said[2].starts_with("refused"), "{ended:?}");
        ground.close().await;
    });
}

#[test]
fn a_job_does_not_reach_what_the_grid_blocks() {
    in_every_sandbox(async || {
        let port = listen_everywhere();
        let ground = Ground::new(|config| config.blocked.push(INTERNET.parse().unwrap())).await;
        let said = reach(&ground, 0, &[INTERNET], port).await;
        assert!(said.iter().all(|line| line.starts_with("refused")), "{said:?}");
        ground.close().await;
    });
}

#[test]
fn a_job_without_network_has_only_its_own_loopback() {
    in_every_sandbox(async || {
        let port = listen_everywhere();
        let ground = Ground::new(|_| {}).await;
        let internet = format!("{INTERNET}:{port}");
        let host = format!("127.0.0.1:{port}");
        let ended = ground.run(job(&["connect", &internet, "+", "connect", &host])).await;
        assert_eq!(ended.stdout, "refused: ENETUNREACH\nrefused: ECONNREFUSED\n");
        ground.close().await;
    });
}

#[test]
fn a_network_that_no_job_has_used_waits_for_the_next_and_is_not_made_anew_while_it_starts() {
    in_every_mode(async || {
        let ground = Ground::new(|_| {}).await;
        let mut namespaces = Vec::new();
        for _ in 0..3 {
            // A job beside it: its network is made, and is no reason to make this one anew.
            ground.run(Job { slot: 1, ..with_network(&["say", "beside"]) }).await;
            namespaces.push(ground.run(with_network(&["network-namespace"])).await.stdout);
        }
        assert!(namespaces[0].starts_with("net:["), "{namespaces:?}");
        assert_eq!([&namespaces[1], &namespaces[2]], [&namespaces[0]; 2]);
        ground.close().await;
    });
}

#[test]
fn a_job_does_not_reach_the_job_beside_it() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let mut other = ground.start(Job { slot: 1, ..with_network(&["listen", "7070"]) }).await.unwrap();
        other.said("listening").await;
        let neighbours = ["198.18.0.2", "198.18.0.6", "198.18.0.5", "fd72:6772:6964:1::2"];
        // Its own address is the first one: nothing listens there.
        let said = reach(&ground, 0, &neighbours, 7070).await;
        assert!(said.iter().all(|line| line.starts_with("refused")), "{said:?}");
        other.running.kill().await;
        ground.close().await;
    });
}

#[test]
fn a_job_reaches_the_internet_of_today_as_root() {
    as_root(async || {
        let port = listen_everywhere();
        let ground = Ground::new(|_| {}).await;
        assert_eq!(ground.sandbox.describe().network, "veth");
        assert_eq!(reach(&ground, 0, &[INTERNET_V6], port).await, ["done", "done"]);
        ground.close().await;
    });
}

#[test]
fn jobs_have_ipv6_on_a_host_whose_new_interfaces_have_none() {
    as_root(async || {
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        let port = listen_everywhere();
        let ground = Ground::new(|_| {}).await;
        assert_eq!(reach(&ground, 0, &[INTERNET, INTERNET_V6], port).await, ["done"; 4]);
        ground.close().await;
    });
}
