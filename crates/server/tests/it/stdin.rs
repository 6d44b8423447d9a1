//! Standard input on its way to a running script.

use rgrid_api::error::ErrorCode;
use rgrid_api::logs::WriteStdin;

use crate::harness::{Grid, attempt_of, code, finish, module, submit};

#[tokio::test]
async fn bytes_written_before_and_while_it_runs_reach_the_attempt_in_order() {
    let grid = Grid::start().await;
    let me = grid.client();
    let mut body = module();
    body.stdin = true;
    let id = submit(&me, &body).await.execution.id;
    let write = async |offset, eof, bytes: &[u8]| {
        me.write_stdin(&id, &WriteStdin { offset, eof, sha256: None }, bytes.to_vec()).await
    };
    assert_eq!(write(0, false, b"one ").await.unwrap().next, 4);
    let runner = grid.runner().await;
    let attempt = attempt_of(&runner.lease().await);
    let (bytes, eof) = runner.client.read_stdin(&attempt, 0).await.unwrap();
    assert_eq!((bytes.as_ref(), eof), (&b"one "[..], false));
    let reading = tokio::spawn({
        let (client, attempt) = (runner.client.clone(), attempt.clone());
        async move { client.read_stdin(&attempt, 4).await.unwrap().0 }
    });
    assert_eq!(write(4, false, b"two").await.unwrap().next, 7);
    assert_eq!(reading.await.unwrap().as_ref(), b"two");
    assert_eq!(write(4, true, b"two!").await.unwrap().next, 8, "what is known already is skipped");
    let (bytes, eof) = runner.client.read_stdin(&attempt, 7).await.unwrap();
    assert_eq!((bytes.as_ref(), eof), (&b"!"[..], true));
    runner.client.finish(&attempt, &finish(0, 0, 0)).await.unwrap();
    assert!(!write(8, false, b"late").await.unwrap().wanted);
    assert_eq!(code(write(0, false, &vec![0; 2 << 20]).await), ErrorCode::TooLarge);
}
