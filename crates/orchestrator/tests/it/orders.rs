//! What an order, a delete and a stop are held to, whatever the provider answers and whatever the rows say by then.

use std::time::Duration;

use hetzner_sim::{Deed, Effect, Fault, Matching};
use rgrid_core::id::IntentId;
use rgrid_core::worker::WorkerStatus;
use rgrid_store::servers::server_name;

use crate::bought::{Market, TO_THE_EDGE, labels};
use crate::stage::until;

/// The so-manieth create.
fn create(nth: u32) -> Matching {
    Matching { nth: Some(nth), ..Matching::request("POST", "/servers") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_nothing_of_what_was_sent_before_it() {
    let market = Market::new().await;
    let sold_out = Effect::Error { code: "resource_unavailable".to_owned(), status: None, message: None };
    market.stand.inject(Fault::once(create(1), Effect::DelayedCommit { seconds: 5 })).unwrap();
    market.stand.inject(Fault::once(create(2), sold_out)).unwrap();
    let buyer = market.buyer("a");
    market.grid.submit().await;
    until("it was asked for twice", async || market.creates() == 2).await;
    let asked = market.stand.requests(0).into_iter().filter_map(|request| match request.method.as_str() {
        "POST" => Some("create"),
        _ => request.query.iter().any(|(key, _)| key == "name").then_some("look"),
    });
    assert_eq!(asked.take(3).collect::<Vec<_>>(), ["create", "look", "create"]);
    market.listings(3).await;
    market.stand.step(Duration::from_secs(6));
    market.until_servers(1).await;
    market.known().await;
    market.join().await;
    assert_eq!((market.creates(), market.deletes()), (2, 0), "its place was kept");
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_over_when_the_provider_knows_of_none_and_not_when_it_takes_the_delete() {
    let market = Market::new().await;
    let buyer = market.buyer("a");
    let (worker, claimed) = market.at_work().await;
    market.finish(worker, &claimed).await;
    market.beat(worker, &[]).await;
    market.stand.step(TO_THE_EDGE);
    until("it is over", async || market.grid.status(worker).await == WorkerStatus::Terminated).await;
    let requests = market.stand.requests(0);
    let said = requests.iter().filter(|r| r.method == "DELETE" || r.path.starts_with("/servers/"));
    assert!(said.clone().any(|r| r.status == Some(404)), "{:?}", said.collect::<Vec<_>>());
    market.settled().await;
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_before_its_row_says_for_good_that_it_goes() {
    let market = Market::new().await;
    let buyer = market.buyer("a");
    let (worker, claimed) = market.at_work().await;
    market.finish(worker, &claimed).await;
    // As if it held work again by the time of the write.
    let kept = "create function keep() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger keep before update on workers for each row when (new.status = 'terminating')
            execute function keep()";
    market.grid.database.execute(kept).await;
    market.beat(worker, &[]).await;
    market.stand.step(TO_THE_EDGE);
    until("it drains", async || market.grid.status(worker).await == WorkerStatus::Draining).await;
    market.listings(6).await;
    assert_eq!((market.grid.status(worker).await, market.deletes()), (WorkerStatus::Draining, 0));
    market.grid.database.execute("drop trigger keep on workers").await;
    market.settled().await;
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_servers_that_nobody_ordered_are_left_alone_for_half_an_hour() {
    let market = Market::new().await;
    market.grid.store.restored().await.unwrap();
    let stray = IntentId::new(5, [5; 10]);
    let labels = labels(&market.id.to_string(), stray);
    market.stand.happen(Deed::ForeignServer { name: server_name(stray), labels }).unwrap();
    let buyer = market.buyer("a");
    market.listings(5).await;
    assert_eq!((market.stand.servers().len(), market.deletes()), (1, 0));
    let later = "update grid set restored_at = restored_at - interval '31 minutes'";
    market.grid.database.execute(later).await;
    market.until_servers(0).await;
    buyer.stop().await;
}
