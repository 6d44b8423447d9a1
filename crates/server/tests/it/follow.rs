//! Following: every byte once, in order, whatever is cut.

use rgrid_api::error::ErrorCode;
use rgrid_api::keys::{CreateKey, Role};
use rgrid_api::logs::{Cursor, Stream};
use rgrid_core::limits::FOLLOWS_PER_KEY_MAX;

use crate::harness::{DEADLINE, Followed, Grid, attempt_of, client, code, finish, fresh_key, module, submit};

#[tokio::test]
async fn a_follower_that_was_cut_goes_on_by_cursor_without_gap_or_duplicate() {
    let grid = Grid::start().await;
    let me = grid.client();
    let id = submit(&me, &module()).await.execution.id;
    let runner = grid.runner().await;
    let attempt = attempt_of(&runner.lease().await);

    let mut followed = Followed::default();
    let (mut stdout, mut stderr) = (0, 0);
    for round in 0..20u8 {
        let line = vec![b'a' + round; usize::from(round) * 7 + 1];
        runner.push(&attempt, Stream::Stdout, stdout, &line).await;
        stdout += line.len() as u64;
        runner.push(&attempt, Stream::Stderr, stderr, &line[..1]).await;
        stderr += 1;
        // Every round is a connection of its own.
        followed
            .read(&me, &id, |seen| seen.stdout.len() as u64 == stdout && seen.stderr.len() as u64 == stderr)
            .await;
    }
    runner.client.finish(&attempt, &finish(3, stdout, stderr)).await.unwrap();
    followed.read(&me, &id, |_| false).await;
    assert_eq!(followed.end.as_ref().unwrap().exit_code, Some(3));
    let whole = Followed::to_end(&me, &id).await;
    assert_eq!((whole.stdout, whole.stderr), (followed.stdout, followed.stderr));
}

#[tokio::test]
async fn followers_at_another_replica_see_the_same_bytes() {
    let grid = Grid::start().await;
    let me = grid.client();
    let elsewhere = client(&grid.another_replica().await.url, &grid.key);
    let id = submit(&elsewhere, &module()).await.execution.id;
    let mut followers = Vec::new();
    for client in [&me, &elsewhere, &elsewhere] {
        let mut followed = Followed::default();
        let mut events = client.follow(&id, followed.cursor).await.unwrap();
        // Each has its first word before anything can be leased: what it says of the start is sure.
        followed.until(&mut events, |seen| !seen.statuses.is_empty()).await;
        followers.push(tokio::spawn(async move {
            followed.until(&mut events, |_| false).await;
            followed
        }));
    }
    let runner = grid.runner().await;
    let attempt = attempt_of(&runner.lease().await);
    let big = vec![b'x'; 200 << 10];
    for round in 0..15 {
        runner.push(&attempt, Stream::Stdout, round * big.len() as u64, &big).await;
    }
    runner.client.finish(&attempt, &finish(0, 15 * big.len() as u64, 0)).await.unwrap();
    for follower in followers {
        let followed = follower.await.unwrap();
        assert_eq!(followed.stdout.len(), 15 * big.len());
        assert_eq!(followed.end.unwrap().status, "completed");
        assert_eq!(followed.statuses.first().map(String::as_str), Some("queued"));
    }
}

#[tokio::test]
async fn a_new_attempt_is_followed_from_its_first_byte() {
    let grid = Grid::start().await;
    let me = grid.client();
    let id = submit(&me, &module()).await.execution.id;
    let runner = grid.runner().await;
    let first = attempt_of(&runner.lease().await);
    runner.push(&first, Stream::Stdout, 0, b"one").await;
    let mut followed = Followed::default();
    followed.read(&me, &id, |seen| seen.stdout == b"one").await;
    runner.client.hand_back(&first).await.unwrap();
    let second = attempt_of(&runner.lease().await);
    runner.push(&second, Stream::Stdout, 0, b"two").await;
    runner.client.finish(&second, &finish(0, 3, 0)).await.unwrap();
    let mut rest = Followed { cursor: followed.cursor, ..Followed::default() };
    rest.read(&me, &id, |_| false).await;
    assert_eq!(rest.stdout, b"two");
    assert_eq!(rest.cursor.attempt, 2);
}

#[tokio::test]
async fn last_event_id_goes_before_the_query_and_tail_starts_near_the_end() {
    let grid = Grid::start().await;
    let me = grid.client();
    let id = submit(&me, &module()).await.execution.id;
    let runner = grid.runner().await;
    let attempt = attempt_of(&runner.lease().await);
    runner.push(&attempt, Stream::Stdout, 0, b"one\ntwo\nthree\n").await;
    runner.client.finish(&attempt, &finish(0, 14, 0)).await.unwrap();

    let url = format!("{}/api/v1/executions/{id}/logs/stream", grid.url());
    let http = reqwest::Client::new();
    let read = async |request: reqwest::RequestBuilder| {
        let text = request.bearer_auth(&grid.key).send().await.unwrap().text().await.unwrap();
        let events = rgrid_api::events::SseReader::default().push(text.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        for event in &events {
            if let rgrid_api::events::FollowEvent::Log { chunk } = serde_json::from_str(&event.data).unwrap()
            {
                bytes.extend(chunk.bytes.0);
            }
        }
        let last = events.last().unwrap();
        assert_eq!(last.id.as_deref(), Some("1:14:0"));
        assert!(last.data.contains(r#""event":"end""#));
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(read(http.get(&url)).await, "one\ntwo\nthree\n");
    assert_eq!(
        read(http.get(format!("{url}?cursor=1:0:0")).header("last-event-id", "1:8:0")).await,
        "three\n"
    );
    assert_eq!(read(http.get(format!("{url}?tail=2"))).await, "two\nthree\n");
}

#[tokio::test]
async fn a_key_that_follows_all_it_may_is_refused_one_more_and_keeps_nobody_else_out() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, (4 * FOLLOWS_PER_KEY_MAX as u64).min(hard), hard).unwrap();
    let grid = Grid::start().await;
    let me = grid.client();
    let id = submit(&me, &module()).await.execution.id;
    let mut follows = Vec::new();
    for _ in 0..FOLLOWS_PER_KEY_MAX {
        follows.push(me.follow(&id, Cursor::default()).await.unwrap());
    }
    assert_eq!(code(me.follow(&id, Cursor::default()).await.map(drop)), ErrorCode::TooManyRequests);
    let other = CreateKey { name: "other".to_owned(), role: Role::Member };
    let other = client(grid.url(), &me.create_key(&other, &fresh_key()).await.unwrap().secret);
    assert!(other.follow(&id, Cursor::default()).await.is_ok());
    follows.pop();
    let again = async {
        while me.follow(&id, Cursor::default()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.expect("who ends one may follow another");
}
