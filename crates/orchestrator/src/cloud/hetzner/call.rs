//! One call: sent within its budget and deadline, and its answer read: the body, what is left of the budget, the
//! provider's clock, or an error with its meaning.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use rgrid_core::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::budget::{Budget, Call, Priority};
use super::failure::{Repeatable, meaning};
use super::token::Token;
use super::wire::ErrorBody;
use crate::cloud::{Error, Failure};
use crate::guards;

/// A connection stands within this.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// An answer is there within this, all of it.
const DEADLINE: Duration = Duration::from_secs(30);
/// Until an answer has said how many calls are left, one asks and the others wait for it, but no longer than this.
const FIRST_ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const BODY_BYTES_MAX: usize = 8 << 20;
/// Answers whose clock is remembered. One that lies is outvoted.
const CLOCKS: usize = 5;
/// A difference of the clocks above this is told.
const SKEW_TOLD: TimeDelta = TimeDelta::seconds(30);

/// The provider's address, with all that is known of it.
#[derive(Debug)]
pub(super) struct Api {
    http: reqwest::Client,
    base: String,
    pub(super) token: Token,
    budget: Mutex<Budget>,
    /// Held by who asks while nothing is known of the budget.
    first: tokio::sync::Mutex<()>,
    /// Its clock less ours, the newest last.
    clocks: Mutex<VecDeque<TimeDelta>>,
}

/// What the provider's clock said in one answer, and when that was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    date: Timestamp,
    at: Instant,
}

impl Told {
    fn now(self) -> Timestamp {
        self.date + self.at.elapsed()
    }
}

/// What came of a delete, with the clock of its own answer: calls beside it may have heard another one.
#[derive(Debug)]
pub(super) enum Deleted {
    Taken(Option<Told>),
    NotThere(Option<Told>),
}

/// An answer, whatever it says.
struct Answer {
    counted: Call,
    status: StatusCode,
    told: Option<Told>,
    correlation: String,
    bytes: Vec<u8>,
}

impl Api {
    pub(super) fn new(endpoint: &str, token: Token, probe: Duration) -> Result<Self, reqwest::Error> {
        let base = endpoint.trim_end_matches('/').to_owned();
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .timeout(DEADLINE)
            // Nobody who sends us elsewhere is handed the token.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("rgrid/", env!("CARGO_PKG_VERSION")));
        if let Some(rest) = base.strip_prefix("http://") {
            http = http.tls_certs_only([]);
            if ["127.", "localhost", "[::1]"].iter().any(|host| rest.starts_with(host)) {
                http = http.no_proxy();
            }
        }
        Ok(Self {
            http: http.build()?,
            base,
            token,
            budget: Mutex::new(Budget::full(Instant::now(), probe)),
            first: tokio::sync::Mutex::default(),
            clocks: Mutex::default(),
        })
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while another asks for the first time; `Some` for who is to ask next, until it has its answer.
    async fn first(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if self.budget().is_known() || !guards::holds(&guards::FIRST_ASKS_ALONE) {
            return None;
        }
        let first = tokio::time::timeout(FIRST_ANSWER_WAIT, self.first.lock()).await.ok()?;
        (!self.budget().is_known()).then_some(first)
    }

    /// By how much the provider's clock is ahead of ours; `None` before it has answered.
    pub(super) fn skew(&self) -> Option<TimeDelta> {
        let mut clocks: Vec<TimeDelta> =
            self.clocks.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        clocks.sort_unstable();
        clocks.get(clocks.len() / 2).copied()
    }

    /// The provider's time, as most of its last answers tell it: one that lies moves no hour's edge and no end of a bill.
    pub(super) fn now(&self) -> Timestamp {
        Utc::now() + self.skew().unwrap_or_default()
    }

    /// The provider's time right after a call, for the end of a bill. Where its answer contradicts those before, it is asked
    /// once more: a clock that jumped says the same again, and an answer that lied is alone.
    pub(super) async fn settled(&self, told: Option<Told>) -> Timestamp {
        let Some(told) = told else { return self.now() };
        if (told.now() - self.now()).abs() <= SKEW_TOLD {
            return told.now();
        }
        let path = "/locations?per_page=1";
        let again = self
            .exchange("a look at the clock", Priority::List, Method::GET, path, None, Repeatable::Yes)
            .await;
        match again.ok().and_then(|answer| answer.told) {
            Some(again) if (again.now() - told.now()).abs() <= SKEW_TOLD => again.now(),
            Some(_) | None => self.now(),
        }
    }

    /// Reads, again as often as one likes.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        call: &'static str,
        priority: Priority,
        path: &str,
    ) -> Result<T, Error> {
        let body = self.send(call, priority, Method::GET, path, None, Repeatable::Yes).await?;
        self.read(call, &body, Repeatable::Yes)
    }

    /// Makes something: what is not answered as it should may have been done.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        call: &'static str,
        path: &str,
        body: &Value,
    ) -> Result<T, Error> {
        let body = self.send(call, Priority::Create, Method::POST, path, Some(body), Repeatable::No).await?;
        self.read(call, &body, Repeatable::No)
    }

    /// Ends something, as often as one likes.
    pub(super) async fn delete(&self, call: &'static str, path: &str) -> Result<Deleted, Error> {
        let answer =
            self.exchange(call, Priority::Delete, Method::DELETE, path, None, Repeatable::Yes).await?;
        if answer.status.is_success() {
            return Ok(Deleted::Taken(answer.told));
        }
        let refusal = self.refusal(call, &answer, Repeatable::Yes);
        match refusal.failure() {
            Some(Failure::NotFound) => Ok(Deleted::NotThere(answer.told)),
            _ => Err(refusal),
        }
    }

    fn read<T: DeserializeOwned>(
        &self,
        call: &'static str,
        body: &[u8],
        repeatable: Repeatable,
    ) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| Error::Provider {
            call,
            failure: meaning(200, "", repeatable),
            words: self.token.redact(&format!("an answer that cannot be read: {error}")),
        })
    }

    async fn send(
        &self,
        call: &'static str,
        priority: Priority,
        method: Method,
        path: &str,
        body: Option<&Value>,
        repeatable: Repeatable,
    ) -> Result<Vec<u8>, Error> {
        let answer = self.exchange(call, priority, method, path, body, repeatable).await?;
        match answer.status.is_success() {
            true => Ok(answer.bytes),
            false => Err(self.refusal(call, &answer, repeatable)),
        }
    }

    async fn exchange(
        &self,
        call: &'static str,
        priority: Priority,
        method: Method,
        path: &str,
        body: Option<&Value>,
        repeatable: Repeatable,
    ) -> Result<Answer, Error> {
        let _first = self.first().await;
        let may = self.budget().take(priority, Instant::now());
        let Some(counted) = may else {
            let words = "too few calls are left in this hour for one of this kind".to_owned();
            return Err(Error::Provider { call, failure: Failure::TooManyCalls, words });
        };
        metrics::counter!("rgrid_provider_calls_total", "call" => call).increment(1);
        let mut request =
            self.http.request(method, format!("{}{path}", self.base)).bearer_auth(self.token.secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let broken = |error: reqwest::Error| {
            // What never reached it was not carried out.
            let failure = if error.is_connect() || error.is_builder() {
                Failure::Unavailable
            } else {
                meaning(0, "", repeatable)
            };
            let words = self.token.redact(&chain(&error.without_url()));
            Error::Provider { call, failure, words }
        };
        let unanswered = Unanswered(&self.budget);
        let sent = request.send().await;
        drop(unanswered);
        let mut response = sent.map_err(broken)?;
        let status = response.status();
        let told = self.learn(counted, response.headers());
        let correlation = header(response.headers(), "x-correlation-id").unwrap_or_default();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > BODY_BYTES_MAX {
                let words = format!("an answer of more than {BODY_BYTES_MAX} bytes");
                return Err(Error::Provider { call, failure: meaning(200, "", repeatable), words });
            }
        }
        Ok(Answer { counted, status, told, correlation, bytes })
    }

    fn refusal(&self, call: &'static str, answer: &Answer, repeatable: Repeatable) -> Error {
        let Answer { counted, status, told: _, correlation, bytes: body } = answer;
        let words = serde_json::from_slice::<ErrorBody>(body).unwrap_or_default().error.unwrap_or_default();
        let code = words.code.unwrap_or_default();
        let failure = meaning(status.as_u16(), &code, repeatable);
        if failure == Failure::TooManyCalls {
            // Only what comes back from now on can be used.
            self.budget().learn(*counted, None, Some(0), Instant::now());
        }
        let message = words.message.unwrap_or_else(|| "no words".to_owned());
        let said = format!("{} {code}: {message} (correlation id {correlation})", status.as_u16());
        Error::Provider { call, failure, words: self.token.redact(&said) }
    }

    fn learn(&self, call: Call, headers: &HeaderMap) -> Option<Told> {
        let number = |name| header(headers, name).and_then(|text| text.parse::<u64>().ok());
        let (limit, remaining) = (number("ratelimit-limit"), number("ratelimit-remaining"));
        if let Some(remaining) = remaining {
            metrics::gauge!("rgrid_provider_calls_left").set(remaining as f64);
        }
        self.budget().learn(call, limit, remaining, Instant::now());
        let date = header(headers, "date").and_then(|text| DateTime::parse_from_rfc2822(&text).ok());
        let told = date.map(|date| Told { date: date.to_utc(), at: Instant::now() });
        if let Some(date) = date {
            let skew = date.to_utc() - Utc::now();
            metrics::gauge!("rgrid_provider_clock_skew_seconds").set(skew.num_milliseconds() as f64 / 1000.0);
            if skew.abs() > SKEW_TOLD {
                tracing::debug!(seconds = skew.num_seconds(), "the provider's clock is not ours");
            }
            let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
            clocks.push_back(skew);
            if clocks.len() > CLOCKS {
                clocks.pop_front();
            }
        }
        told
    }
}

/// A call on its way, also until whoever made it gives up.
struct Unanswered<'a>(&'a Mutex<Budget>);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answered();
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        words.push_str(": ");
        words.push_str(&next.to_string());
        cause = next.source();
    }
    words
}
