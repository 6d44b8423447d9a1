//! Every request that came, for those who assert what was asked and how often. Tokens and user data are not in it.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Requests that are kept; the oldest go first.
const KEPT_MAX: usize = 100_000;

/// One request and how it was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Counts from 1, over all requests.
    pub number: u64,
    /// When, on the stand-in's clock.
    pub at: DateTime<Utc>,
    /// `GET` and so on.
    pub method: String,
    /// The path after `/v1`.
    pub path: String,
    /// What stood after the question mark, decoded.
    pub query: Vec<(String, String)>,
    /// Whose token it was; none if it was nobody's.
    pub project: Option<String>,
    /// The body, with the length of the user data in its place.
    pub body: Value,
    /// The status of the answer; none if the connection was cut before one.
    pub status: Option<u16>,
    /// The error's code.
    pub code: Option<String>,
    /// Calls that were left in the budget.
    pub remaining: u64,
    /// Numbers of the faults that hit it.
    pub faults: Vec<u64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Journal {
    requests: VecDeque<Request>,
    count: u64,
}

impl Journal {
    pub(crate) fn write(&mut self, mut request: Request) {
        self.count += 1;
        request.number = self.count;
        if let Some(data) = request.body.get_mut("user_data") {
            *data = data.as_str().map(|text| format!("<{} bytes>", text.len())).into();
        }
        if self.requests.len() == KEPT_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    /// Those after `number`, in order.
    pub(crate) fn after(&self, number: u64) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(move |request| request.number > number)
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}
