//! What runners say: join, heartbeat, the poll for work, and everything about an attempt they hold.

use std::time::Duration;

use reqwest::Method;

use super::{AttemptRef, COMMIT_DEADLINE, Client, ClientError, POLL_SLACK, REQUEST_DEADLINE};
use crate::STDIN_EOF;
use crate::attempts::{Finish, Finished, LogsPushed, PushLogs};
use crate::blobs::{BlobsMissing, BlobsWanted, CommitBlobs, Committed};
use crate::dependencies::{
    EnvironmentAnswer, EnvironmentBuilt, EnvironmentWanted, Preparing, TellEnvironmentLog,
};
use crate::workers::{Heartbeat, HeartbeatAnswer, Join, Joined, LeaseAnswer, LeaseRequest};

impl Client {
    /// `POST /workers/join`.
    pub async fn join(&self, body: &Join) -> Result<Joined, ClientError> {
        self.post("/workers/join", body).await
    }

    /// `POST /heartbeats`.
    pub async fn heartbeat(&self, body: &Heartbeat) -> Result<HeartbeatAnswer, ClientError> {
        self.post("/heartbeats", body).await
    }

    /// `POST /leases`: waits up to the body's `wait_ms`.
    pub async fn lease(&self, body: &LeaseRequest) -> Result<LeaseAnswer, ClientError> {
        let deadline = Duration::from_millis(body.wait_ms) + POLL_SLACK;
        self.answer(self.request(Method::POST, "/leases").json(body).timeout(deadline)).await
    }

    /// `POST /attempts/{execution}/{attempt}/started`.
    pub async fn started(&self, attempt: &AttemptRef) -> Result<(), ClientError> {
        self.send(self.on_attempt(attempt, Method::POST, "started").timeout(REQUEST_DEADLINE)).await.map(drop)
    }

    /// `POST /attempts/{execution}/{attempt}/return`: hands it back unharmed, for no retry.
    pub async fn hand_back(&self, attempt: &AttemptRef) -> Result<(), ClientError> {
        self.send(self.on_attempt(attempt, Method::POST, "return").timeout(REQUEST_DEADLINE)).await.map(drop)
    }

    /// `POST /attempts/{execution}/{attempt}/logs`.
    pub async fn push_logs(&self, attempt: &AttemptRef, body: &PushLogs) -> Result<LogsPushed, ClientError> {
        self.answer(self.on_attempt(attempt, Method::POST, "logs").json(body).timeout(REQUEST_DEADLINE)).await
    }

    /// `GET /attempts/{execution}/{attempt}/stdin?offset=N`: waits up to 20 s for bytes. Answers them and whether
    /// nothing follows; no bytes and `false` means: ask again.
    pub async fn read_stdin(
        &self,
        attempt: &AttemptRef,
        offset: u64,
    ) -> Result<(bytes::Bytes, bool), ClientError> {
        let request = self.on_attempt(attempt, Method::GET, &format!("stdin?offset={offset}"));
        let response = self.send(request.timeout(Duration::from_secs(20) + POLL_SLACK)).await?;
        let eof = response.headers().contains_key(STDIN_EOF);
        let bytes = response.bytes().await.map_err(|source| self.unreachable(source))?;
        Ok((bytes, eof))
    }

    /// `POST /attempts/{execution}/{attempt}/blobs`: where the outputs go.
    pub async fn attempt_blobs_missing(
        &self,
        attempt: &AttemptRef,
        body: &BlobsWanted,
    ) -> Result<BlobsMissing, ClientError> {
        self.answer(self.on_attempt(attempt, Method::POST, "blobs").json(body).timeout(REQUEST_DEADLINE))
            .await
    }

    /// `POST /attempts/{execution}/{attempt}/blobs/commit`.
    pub async fn attempt_commit_blobs(
        &self,
        attempt: &AttemptRef,
        body: &CommitBlobs,
    ) -> Result<Committed, ClientError> {
        let request = self.on_attempt(attempt, Method::POST, "blobs/commit");
        self.answer(request.json(body).timeout(COMMIT_DEADLINE)).await
    }

    /// `POST /attempts/{execution}/{attempt}/environment`: waits up to 20 s while another attempt builds it.
    pub async fn environment(
        &self,
        attempt: &AttemptRef,
        body: &EnvironmentWanted,
    ) -> Result<EnvironmentAnswer, ClientError> {
        let request = self.on_attempt(attempt, Method::POST, "environment");
        self.answer(request.json(body).timeout(Duration::from_secs(20) + POLL_SLACK)).await
    }

    /// `POST /attempts/{execution}/{attempt}/environment/built`.
    pub async fn environment_built(
        &self,
        attempt: &AttemptRef,
        body: &EnvironmentBuilt,
    ) -> Result<(), ClientError> {
        let request = self.on_attempt(attempt, Method::POST, "environment/built");
        self.send(request.json(body).timeout(REQUEST_DEADLINE)).await.map(drop)
    }

    /// `POST /attempts/{execution}/{attempt}/environment/log`.
    pub async fn tell_environment_log(
        &self,
        attempt: &AttemptRef,
        body: &TellEnvironmentLog,
    ) -> Result<(), ClientError> {
        let request = self.on_attempt(attempt, Method::POST, "environment/log");
        self.send(request.json(body).timeout(REQUEST_DEADLINE)).await.map(drop)
    }

    /// `POST /attempts/{execution}/{attempt}/preparing`.
    pub async fn preparing(&self, attempt: &AttemptRef, body: &Preparing) -> Result<(), ClientError> {
        let request = self.on_attempt(attempt, Method::POST, "preparing");
        self.send(request.json(body).timeout(REQUEST_DEADLINE)).await.map(drop)
    }

    /// `POST /attempts/{execution}/{attempt}/finish`.
    pub async fn finish(&self, attempt: &AttemptRef, body: &Finish) -> Result<Finished, ClientError> {
        self.answer(self.on_attempt(attempt, Method::POST, "finish").json(body).timeout(REQUEST_DEADLINE))
            .await
    }
}
