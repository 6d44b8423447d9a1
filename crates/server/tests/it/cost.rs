//! What executions cost: shares of servers' hours, told to whom they belong.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use rgrid_api::cost::{Cost, CostQuery, GridCost};
use rgrid_api::error::ErrorCode;
use rgrid_api::workers::Join;
use rgrid_core::money::{Rate, ServerPrice};
use rgrid_core::worker::Capacity;
use rgrid_store::keys::Role;
use rgrid_store::servers::ServerOrder;

use crate::harness::{Grid, Runner, attempt_of, client, code, finish, join, module, submit};

/// Micro-euros of a server's hour, and of its address.
const HOUR: (i64, i64) = (40_000, 800);

/// A server with four cores that began three hours ago and half of a minute, and its runner.
async fn server(grid: &Grid) -> Runner {
    let term = grid.store.lead("a test").await.unwrap().unwrap();
    let rate = |hour: &str| Rate { hour: hour.parse().unwrap(), month: None };
    let order = ServerOrder {
        provider: "hetzner".to_owned(),
        machine_type: "cpx32".to_owned(),
        location: "fsn1".to_owned(),
        price: ServerPrice { server: rate("0.04"), ipv4: Some(rate("0.0008")) },
        capacity: Capacity { cpu_millis: 4000, memory_bytes: 6 << 30, disk_bytes: 70 << 30 },
        slots: 4,
        reason: "a test".to_owned(),
        join_within: Duration::from_secs(60),
    };
    let ordered = grid.store.order_server(&term, &order).await.unwrap();
    let created = Utc::now() - TimeDelta::minutes(210);
    grid.store.server_seen(&term, ordered.intent, "42", created, None).await.unwrap();
    let row = grid.store.servers().await.unwrap().remove(0);
    grid.store.bill(&term, &row, Utc::now()).await.unwrap();
    let anybody = client(grid.url(), "");
    let joined = anybody.join(&Join { slots: 4, ..join(&ordered.join_token) }).await.unwrap();
    let client = client(grid.url(), &joined.credential);
    Runner { client, worker_id: joined.worker_id, credential: joined.credential }
}

async fn told(client: &rgrid_api::client::Client, execution: Option<&str>) -> Cost {
    let since = Some(Utc::now() - TimeDelta::days(1));
    let execution = execution.map(str::to_owned);
    client.cost(&CostQuery { since, execution, limit: None }).await.unwrap()
}

#[tokio::test]
async fn an_execution_costs_its_attempts_shares_and_the_rest_is_idle() {
    let grid = Grid::start().await;
    let runner = server(&grid).await;
    let me = grid.client();
    assert_eq!(told(&me, None).await.executions, []);
    let created = submit(&me, &module()).await.execution;
    let lease = runner.lease().await;
    runner.client.finish(&attempt_of(&lease), &finish(0, 0, 0)).await.unwrap();
    // It ran from the middle of the second hour to the middle of the third, on one core of four; and once before on two of
    // them, in the first hour, for a quarter of it.
    grid.database
        .execute(
            "update attempts set number = 2, claimed_at = now() - interval '120 minutes', ended_at = now() - interval '60 minutes';
            insert into attempts
                select r.* from attempts a cross join lateral jsonb_populate_record(a, jsonb_build_object('number', 1,
                    'state', 'lost', 'cpu_millis', 2000, 'claimed_at', now() - interval '200 minutes',
                    'ended_at', now() - interval '185 minutes')) r",
        )
        .await;
    let cost = told(&me, None).await;
    let [execution] = &cost.executions[..] else { panic!("{cost:?}") };
    assert_eq!((execution.id.as_str(), execution.name.is_empty()), (created.id.as_str(), false));
    let of = |attempt: usize| execution.attempts[attempt].micros;
    // A second more or less makes three micro-euros, for each line that it touches.
    let near = |micros: i64, exact: i64| (micros - exact).abs() <= 12;
    let (hour, address) = HOUR;
    assert!(near(of(0), (hour + address) / 8), "{execution:?}");
    assert!(near(of(1), (hour + address) / 4), "{execution:?}");
    assert_eq!(execution.micros, of(0) + of(1), "the lost one too");
    assert_eq!((cost.executions_total, cost.micros), (1, execution.micros));
    let GridCost { billed_micros, charged_micros, idle_micros } = cost.grid.unwrap();
    assert_eq!((billed_micros, charged_micros), (4 * (hour + address), cost.micros));
    assert_eq!(charged_micros + idle_micros, billed_micros);
    let one = told(&me, Some("last")).await;
    assert_eq!((one.executions, one.grid), (cost.executions.clone(), None));
}

#[tokio::test]
async fn nobody_is_told_what_another_account_spends_and_members_not_the_bill() {
    let grid = Grid::start().await;
    let runner = server(&grid).await;
    let created = submit(&grid.client(), &module()).await.execution;
    let lease = runner.lease().await;
    runner.client.finish(&attempt_of(&lease), &finish(0, 0, 0)).await.unwrap();
    let stranger = grid.stranger("another").await;
    let cost = told(&stranger, None).await;
    assert_eq!((cost.executions, cost.micros), (Vec::new(), 0));
    let query = CostQuery { execution: Some(created.id), ..CostQuery::default() };
    assert_eq!(code(stranger.cost(&query).await), ErrorCode::NotFound);
    assert_eq!(code(runner.client.cost(&CostQuery::default()).await), ErrorCode::Forbidden);
    let account = grid.store.default_account().await.unwrap().id;
    let (_, key) = grid.store.create_key(account, "member", Role::Member).await.unwrap();
    let member = told(&client(grid.url(), &key), None).await;
    assert_eq!((member.executions_total, member.grid), (1, None));
}
