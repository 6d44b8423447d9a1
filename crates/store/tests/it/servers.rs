//! Servers that a provider bills: orders, their ledger, and what a worker on one may hold.

use std::time::Duration;

use rgrid_core::Timestamp;
use rgrid_core::money::{Rate, ServerPrice};
use rgrid_core::worker::{Capacity, WorkerStatus};
use rgrid_store::Error;
use rgrid_store::leadership::Term;
use rgrid_store::servers::{Ordered, ServerOrder, server_name};

use crate::crew::join;
use crate::stage::Stage;

const PROMISED: Capacity = Capacity { cpu_millis: 2000, memory_bytes: 3 << 30, disk_bytes: 70 << 30 };

fn order() -> ServerOrder {
    let rate =
        |hour: &str, month: &str| Rate { hour: hour.parse().unwrap(), month: Some(month.parse().unwrap()) };
    ServerOrder {
        provider: "hetzner".to_owned(),
        machine_type: "cpx22".to_owned(),
        location: "fsn1".to_owned(),
        price: ServerPrice { server: rate("0.0312345", "19.49"), ipv4: Some(rate("0.0008", "0.5")) },
        capacity: PROMISED,
        slots: 2,
        reason: "a test".to_owned(),
        join_within: Duration::from_secs(60),
    }
}

async fn ordered(stage: &Stage) -> (Term, Ordered) {
    let term = stage.store.lead("a").await.unwrap().unwrap();
    (term, stage.store.order_server(&term, &order()).await.unwrap())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

async fn ledger(stage: &Stage) -> Vec<(String, i64)> {
    let lines = stage.store.ledger(at("2000-01-01T00:00:00Z")).await.unwrap();
    lines
        .into_iter()
        .map(|line| (format!("{} {}", line.item, line.hour_start.format("%H:%M")), line.amount.0))
        .collect()
}

#[tokio::test]
async fn an_order_is_written_with_its_price_before_anything_is_asked_for() {
    let stage = Stage::new().await;
    let (_, ordered) = ordered(&stage).await;
    let open = stage.store.servers().await.unwrap();
    let [row] = &open[..] else { panic!("{open:?}") };
    assert_eq!(
        (row.intent, row.worker, row.name.as_str()),
        (ordered.intent, Some(ordered.worker), ordered.name.as_str())
    );
    assert_eq!((row.price, row.server.clone(), row.hours), (order().price, None, 0));
    assert_eq!(ordered.name, server_name(ordered.intent));
    let worker = stage.store.workers().await.unwrap().remove(0);
    assert_eq!((worker.status, worker.capacity, worker.slots), (WorkerStatus::Provisioning, PROMISED, 2));
    let late = Term { number: 99, deadline: at("2030-01-01T00:00:00Z") };
    assert!(matches!(stage.store.order_server(&late, &order()).await, Err(Error::NotLeader)));
}

#[tokio::test]
async fn a_second_server_of_one_order_has_a_bill_of_its_own() {
    let stage = Stage::new().await;
    let (term, ordered) = ordered(&stage).await;
    let intent = ordered.intent;
    let seen = async |id: &str, created| {
        stage.store.server_seen(&term, intent, id, at(created), None).await.unwrap();
    };
    // Made twice: what was sent first was carried out last, when the second was deleted already.
    seen("42", "2026-11-26T10:00:00Z").await;
    stage.store.server_delete_taken(&term, intent, at("2026-11-26T10:01:00Z")).await.unwrap();
    stage.store.server_gone(&term, intent, at("2026-11-26T10:02:00Z")).await.unwrap();
    seen("43", "2026-11-26T10:03:00Z").await;
    let row = stage.store.servers().await.unwrap().remove(0);
    assert_eq!((row.server.as_deref(), row.hours), (Some("43"), 0));
    stage.store.bill(&term, &row, at("2026-11-26T10:04:00Z")).await.unwrap();
    assert_eq!(stage.store.servers().await.unwrap().remove(0).hours, 1);
    stage.store.server_delete_taken(&term, intent, at("2026-11-26T11:04:00Z")).await.unwrap();
    stage.store.server_gone(&term, intent, at("2026-11-26T11:05:00Z")).await.unwrap();
    // Its end was never told: it was over when the next had its name.
    seen("44", "2026-11-26T11:30:00Z").await;
    seen("44", "2026-11-26T11:30:00Z").await;
    seen("45", "2026-11-26T12:31:00Z").await;
    stage.store.server_gone(&term, intent, at("2026-11-26T12:32:00Z")).await.unwrap();
    let servers: Vec<_> =
        ledger(&stage).await.into_iter().filter(|line| line.0.starts_with("server")).collect();
    let hours = ["10:00", "10:03", "11:03", "11:30", "12:30", "12:31"];
    assert_eq!(servers, hours.map(|hour| (format!("server {hour}"), 31_235)));
    assert_eq!(stage.store.servers().await.unwrap(), []);
}

#[tokio::test]
async fn every_started_hour_is_a_line_and_the_end_is_the_deletes() {
    let stage = Stage::new().await;
    let (term, ordered) = ordered(&stage).await;
    let created = at("2026-11-26T10:15:00Z");
    stage.store.server_seen(&term, ordered.intent, "42", created, None).await.unwrap();
    let row = stage.store.servers().await.unwrap().remove(0);
    // A clock that was wrong for a moment has begun hours that never were.
    for until in ["2026-11-26T10:20:00Z", "2026-11-26T11:15:01Z", "2026-11-26T14:00:00Z"] {
        stage.store.bill(&term, &row, at(until)).await.unwrap();
        stage.store.bill(&term, &row, at(until)).await.unwrap();
    }
    assert_eq!(ledger(&stage).await.len(), 8);
    stage.store.server_delete_taken(&term, ordered.intent, at("2026-11-26T12:14:00Z")).await.unwrap();
    stage.store.server_gone(&term, ordered.intent, at("2026-11-26T12:20:00Z")).await.unwrap();
    let line = |item: &str, micros: i64| (item.to_owned(), micros);
    let expected = [
        line("ipv4 10:15", 800),
        line("server 10:15", 31_235),
        line("ipv4 11:15", 800),
        line("server 11:15", 31_235),
    ];
    assert_eq!(ledger(&stage).await, expected);
    assert!(stage.store.servers().await.unwrap().is_empty());
    // What the type costs by then is not what this server costs.
    let dearer = Rate { hour: "0.5".parse().unwrap(), month: None };
    stage.store.server_seen(&term, ordered.intent, "42", created, Some(&dearer)).await.unwrap();
    let again = stage.store.servers().await.unwrap().remove(0);
    assert_eq!(again.price, order().price);
    // It shows once more: it was not gone.
    stage.store.server_seen(&term, ordered.intent, "42", created, None).await.unwrap();
    assert_eq!(stage.store.servers().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_provider_says_when_it_creates_is_the_price() {
    let stage = Stage::new().await;
    let (term, ordered) = ordered(&stage).await;
    let rate = Rate { hour: "0.04".parse().unwrap(), month: Some("20".parse().unwrap()) };
    let created = at("2026-11-26T10:15:00Z");
    stage.store.server_seen(&term, ordered.intent, "42", created, Some(&rate)).await.unwrap();
    let row = stage.store.servers().await.unwrap().remove(0);
    assert_eq!(row.price, ServerPrice { server: rate, ..order().price });
}

#[tokio::test]
async fn a_refused_order_frees_its_place_and_one_whose_server_was_seen_does_not() {
    let stage = Stage::new().await;
    let (term, first) = ordered(&stage).await;
    assert!(stage.store.server_refused(&term, first.intent, "sold out").await.unwrap());
    assert!(stage.store.servers().await.unwrap().is_empty());
    assert!(stage.store.fleet(Duration::ZERO).await.unwrap().workers.is_empty());
    assert_eq!(stage.store.unwanted_servers(&term, &[first.intent]).await.unwrap(), [first.intent]);
    let second = stage.store.order_server(&term, &order()).await.unwrap();
    stage.store.server_seen(&term, second.intent, "42", at("2026-11-26T10:15:00Z"), None).await.unwrap();
    assert!(!stage.store.server_refused(&term, second.intent, "sold out").await.unwrap());
    assert!(stage.store.unwanted_servers(&term, &[second.intent]).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_the_provider_answered_is_there_for_the_next_leader() {
    let stage = Stage::new().await;
    let (term, _) = ordered(&stage).await;
    let store = &stage.store;
    store.cell_refused(&term, "hetzner", "cpx22", "fsn1").await.unwrap();
    store.cell_refused(&term, "hetzner", "cpx22", "fsn1").await.unwrap();
    store.provider_paused(&term, "hetzner", "quota").await.unwrap();
    store.say_outlook(&term, Some("cpx22 in fsn1: sold out")).await.unwrap();
    let market = store.market("hetzner").await.unwrap();
    assert_eq!((market.refusals[0].0.as_str(), market.refusals[0].2), ("cpx22", 2));
    assert_eq!(market.pause.map(|(cause, in_a_row, _)| (cause, in_a_row)), Some(("quota".to_owned(), 1)));
    assert_eq!(store.outlook().await.unwrap().as_deref(), Some("cpx22 in fsn1: sold out"));
    store.cell_taken(&term, "hetzner", "cpx22", "fsn1").await.unwrap();
    let market = store.market("hetzner").await.unwrap();
    assert!(market.refusals.is_empty() && market.pause.is_none());
}

#[tokio::test]
async fn a_worker_is_given_no_more_than_its_type_promises_and_less_is_remembered() {
    let stage = Stage::new().await;
    let (term, first) = ordered(&stage).await;
    let mut row = join(&first.join_token, "nonce");
    (row.slots, row.capacity) =
        (99, Capacity { cpu_millis: 64_000, memory_bytes: 1 << 40, disk_bytes: 1 << 40 });
    stage.store.join(&row).await.unwrap();
    // The answer was lost.
    stage.store.join(&row).await.unwrap();
    let worker = stage.store.workers().await.unwrap().remove(0);
    assert_eq!((worker.capacity, worker.slots), (PROMISED, 2));
    assert!(stage.store.market("hetzner").await.unwrap().shortfalls.is_empty());
    let second = stage.store.order_server(&term, &order()).await.unwrap();
    let mut row = join(&second.join_token, "another");
    row.capacity = Capacity { memory_bytes: PROMISED.memory_bytes - 1, ..PROMISED };
    stage.store.join(&row).await.unwrap();
    let shortfalls = stage.store.market("hetzner").await.unwrap().shortfalls;
    assert_eq!((shortfalls[0].1, shortfalls[0].2), (PROMISED, row.capacity));
}

#[tokio::test]
async fn a_stop_and_a_restore_are_the_grids_own_state() {
    let stage = Stage::new().await;
    let state = async || stage.store.grid_state().await.unwrap();
    assert!(state().await.spending_stopped_at.is_none() && state().await.restored_at.is_none());
    stage.store.stop_spending(true).await.unwrap();
    let stopped = state().await.spending_stopped_at;
    assert!(stopped.is_some());
    stage.store.stop_spending(true).await.unwrap();
    assert_eq!(state().await.spending_stopped_at, stopped);
    stage.store.stop_spending(false).await.unwrap();
    assert!(state().await.spending_stopped_at.is_none());
    assert_eq!(stage.store.restored().await.unwrap(), 2);
    assert!(state().await.restored_at.is_some());
}
