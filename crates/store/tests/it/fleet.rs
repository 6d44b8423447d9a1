//! What the orchestrator reads and writes: demand within limits, and no write without leadership.

use std::time::Duration;

use rgrid_core::execution::Status;
use rgrid_core::outcome::Outcome;
use rgrid_store::Error;

use crate::crew::changed;
use crate::stage::Stage;

#[tokio::test]
async fn one_leads_and_another_takes_over_when_it_stops() {
    let stage = Stage::new().await;
    let store = &stage.store;
    let first = store.lead("a").await.unwrap().unwrap();
    assert_eq!(store.lead("b").await.unwrap(), None);
    assert_eq!(store.lead("a").await.unwrap().unwrap().number, first.number);
    stage.execute("update leadership set deadline = now() - interval '1 second'").await;
    assert!(matches!(store.provision_intent(&first, "local", "x").await, Err(Error::NotLeader)));
    let second = store.lead("b").await.unwrap().unwrap();
    assert!(second.number > first.number);
    assert_eq!(store.lead("a").await.unwrap(), None);
    assert!(matches!(store.provision_intent(&first, "local", "x").await, Err(Error::NotLeader)));
    assert!(matches!(store.expire_pending(&first).await, Err(Error::NotLeader)));
    assert_eq!(stage.count("select count(*) from workers").await, 0);
    store.resign("b").await.unwrap();
    assert!(store.lead("a").await.unwrap().unwrap().number > second.number);
}

#[tokio::test]
async fn orchestrators_at_once_never_both_lead() {
    let stage = Stage::new().await;
    let holders = ["a", "b", "c", "d"];
    let [a, b, c, d] = holders.map(|holder| stage.store.lead(holder));
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    assert_eq!([a, b, c, d].into_iter().filter(|term| term.as_ref().unwrap().is_some()).count(), 1);
}

#[tokio::test]
async fn demand_is_counted_per_lane_within_the_limits_of_batches() {
    let stage = Stage::new().await;
    for cpu in [None, None, Some(4000)] {
        let sent = changed(|draft| draft.wanted.cpu_millis = cpu);
        stage.store.create_execution(stage.account, &sent, false, None).await.unwrap();
    }
    let rows = stage.store.fleet(Duration::ZERO).await.unwrap();
    let mut demand: Vec<_> = rows.demand.iter().map(|lane| (lane.wanted.cpu_millis, lane.count)).collect();
    demand.sort_unstable();
    assert_eq!(demand, [(0, 2), (4000, 1)]);
    assert_eq!((rows.open_executions, rows.overdue.len()), (3, 0));
    assert!(rows.last_activity_at.is_some());
    let batch = rgrid_core::id::BatchId::new(1, [1; 10]);
    let account = stage.account;
    stage
        .execute(format!(
            "insert into batches (id, account_id, parallel) values ('{batch}', '{account}', 1);
            update lanes set batch_id = '{batch}' where cpu_millis = 0"
        ))
        .await;
    let rows = stage.store.fleet(Duration::ZERO).await.unwrap();
    assert!(rows.demand.iter().all(|lane| lane.count == 1));
}

#[tokio::test]
async fn pending_expires_when_nothing_arrives_for_an_hour() {
    let stage = Stage::new().await;
    let term = stage.store.lead("a").await.unwrap().unwrap();
    let id = stage.submit(&[b"one"], false).await;
    assert_eq!(stage.store.expire_pending(&term).await.unwrap(), 0);
    stage.execute("update executions set created_at = now() - interval '61 minutes'").await;
    assert_eq!(stage.store.expire_pending(&term).await.unwrap(), 1);
    let row = stage.store.execution(stage.account, id).await.unwrap();
    assert_eq!((row.status, row.outcome), (Status::Failed, Some(Outcome::Expired)));
}

#[tokio::test]
async fn a_nudge_reaches_this_process_at_once_and_others_soon() {
    let stage = Stage::new().await;
    let other = rgrid_store::Store::connect(&stage.database.config()).await.unwrap();
    let (mut here, mut there) = (stage.store.nudges(), other.nudges());
    let deadline = Duration::from_secs(30);
    let queued = async |nudges: &mut tokio::sync::broadcast::Receiver<_>| loop {
        if nudges.recv().await.unwrap() == rgrid_store::notify::Nudge::Queue {
            break;
        }
    };
    // The other process may only just have begun to listen: nudge until it hears.
    let heard = async {
        loop {
            stage.submit(&[], false).await;
            if tokio::time::timeout(Duration::from_millis(100), queued(&mut there)).await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(deadline, heard).await.unwrap();
    tokio::time::timeout(deadline, queued(&mut here)).await.unwrap();
}
