//! How many of the provider's calls a busy hour takes, by the stand-in's journal.

use std::io::Write as _;
use std::time::Duration;

use hetzner_sim::{Deed, Effect, Fault, Matching, Request};
use rgrid_core::id::{IntentId, WorkerId};
use rgrid_orchestrator::cloud::hetzner::{self, Hetzner};
use rgrid_orchestrator::cloud::{Cloud as _, ServerWish, Target, Wish};
use rgrid_orchestrator::{Period, Spending};
use rgrid_store::servers::server_name;

use crate::bought::{Market, TO_THE_EDGE};
use crate::stage::{join_row, until};

/// Servers of the hour.
const SERVERS: usize = 50;
/// Calls that the provider allows in an hour.
const CALLS_PER_HOUR: u64 = 3600;
/// Of these, so many may be ours.
const PERCENT_MAX: u64 = 30;

/// So often in an hour.
fn in_an_hour(period: Duration) -> u64 {
    3600 / period.as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_hour_of_fifty_servers_leaves_most_calls_to_others() {
    let market = Market::new().await;
    let buyer =
        market.buyer_with("a", Spending::On, |policy| policy.workers_max = u32::try_from(SERVERS).unwrap());
    for _ in 0..SERVERS {
        market.grid.submit().await;
    }
    market.until_servers(SERVERS).await;
    let known = async || market.grid.store.servers().await.unwrap().iter().all(|row| row.server.is_some());
    until("every server is known", known).await;
    market.stand.step(Duration::from_secs(30));
    for server in market.stand.servers() {
        let token = server.user_data.lines().find(|line| line.trim().starts_with("rgj_")).unwrap();
        let (worker, _) = market.grid.store.join(&join_row(token.trim().to_owned())).await.unwrap();
        let claimed = market.claim(worker).await;
        market.finish(worker, &claimed).await;
        market.beat(worker, &[]).await;
    }
    market.stand.step(TO_THE_EDGE);
    market.settled().await;
    let requests = market.stand.requests(0);
    let listing =
        |r: &&Request| r.path == "/servers" && r.query.iter().any(|(key, _)| key == "label_selector");
    let catalog = |r: &&Request| r.path == "/server_types" || r.path == "/pricing";
    let once = requests.iter().filter(|r| !listing(r) && !catalog(r)).count() as u64;
    let pages = requests.iter().filter(listing).filter_map(|r| {
        let page = r.query.iter().find(|(key, _)| key == "page")?;
        page.1.parse::<u64>().ok()
    });
    let looks = requests.iter().filter(catalog).count() as u64;
    let (pages, period) = (pages.max().unwrap(), Period::default());
    // What is asked for of its own accord was asked for more often here than a grid does: that is counted by its period.
    let calls = once + pages * in_an_hour(period.list) + looks * in_an_hour(period.catalog);
    assert!(once >= 2 * SERVERS as u64, "{once} calls to buy and delete {SERVERS} servers");
    assert!(
        calls * 100 <= PERCENT_MAX * CALLS_PER_HOUR,
        "{once} + {pages} pages + {looks} looks: {calls} calls"
    );
    let mut stderr = std::io::stderr();
    writeln!(
        stderr,
        "{once} calls to buy and delete, {pages} pages a listing, {looks} looks: {calls} an hour"
    )
    .unwrap();
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_few_calls_are_left_servers_are_deleted_and_none_is_ordered() {
    let market = Market::new().await;
    let config = hetzner::Config { probe: Duration::from_secs(3600), ..market.provider_config(None) };
    let provider = Hetzner::new(config).unwrap();
    let worker = WorkerId::new(1, [1; 10]);
    let wish = |nth: u8| {
        let intent = IntentId::new(1, [nth; 10]);
        let server = ServerWish {
            intent,
            name: server_name(intent),
            machine_type: "cpx12".to_owned(),
            location: "fsn1".to_owned(),
        };
        Wish { worker, join_token: "rgj_x".to_owned(), server: Some(server) }
    };
    let made = provider.create(&wish(1)).await.unwrap().unwrap();
    // It is locked until it runs.
    market.stand.step(Duration::from_secs(30));
    // Others have used the calls of the project; the next answer tells it.
    market.stand.happen(Deed::Drain { left: 500 }).unwrap();
    provider.list(&[]).await.unwrap();
    let asked = market.stand.requests(0).len();
    let refused = provider.create(&wish(2)).await.unwrap_err().to_string();
    assert!(refused.contains("too few calls are left"), "{refused}");
    assert!(provider.list(&[]).await.is_err() && provider.catalog().await.is_err());
    assert_eq!(market.stand.requests(0).len(), asked, "none of these was sent");
    provider.delete(&Target { worker, server: Some(made.id), name: None }).await.unwrap();
    assert!(market.stand.servers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_nothing_of_the_calls_that_are_left_asks_once_before_it_asks_much() {
    let market = Market::new().await;
    // The one before it has left a single call.
    market.stand.happen(Deed::Drain { left: 1 }).unwrap();
    let late = Matching::request("DELETE", "/servers/*");
    market.stand.inject(Fault::once(late, Effect::Latency { millis: 500 })).unwrap();
    let provider = Hetzner::new(market.provider_config(None)).unwrap();
    let worker = WorkerId::new(1, [1; 10]);
    let gone = ["1", "2", "3"].map(|id| Target { worker, server: Some(id.to_owned()), name: None });
    let [first, second, third] = &gone;
    let (first, second, third) =
        tokio::join!(provider.delete(first), provider.delete(second), provider.delete(third));
    let answered = [first.is_ok(), second.is_ok(), third.is_ok()];
    assert_eq!(answered.into_iter().filter(|ok| *ok).count(), 1, "{answered:?}");
    let refused = |r: &&Request| r.code.as_deref() == Some("rate_limit_exceeded");
    assert_eq!(market.stand.requests(0).iter().filter(refused).count(), 0);
}
