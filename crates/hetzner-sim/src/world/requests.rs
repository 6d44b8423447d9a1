//! One request from its arrival to its answer: budget, token, faults, the route, the journal.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::Value;

use crate::agenda::Event;
use crate::call::{Answer, Call};
use crate::catalog;
use crate::errors::ApiError;
use crate::fates::Fate;
use crate::faults::{self, Effect, Facts};
use crate::journal::Request;
use crate::listing::Distortion;
use crate::world::World;

/// What a fault does to the connection rather than to the answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wire {
    /// The answer waits so long.
    pub(crate) latency: Duration,
    /// Between pieces of the body.
    pub(crate) pause: Option<Duration>,
    /// There is no answer: the connection is reset.
    pub(crate) reset: bool,
    /// Only half of the body is sent.
    pub(crate) truncated: bool,
    /// HTML instead of JSON.
    pub(crate) html: bool,
}

/// The answer, and how it is to be sent.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) answer: Answer,
    pub(crate) wire: Wire,
}

/// What the faults that hit a request make of it.
#[derive(Debug, Default)]
pub(crate) struct Doctored {
    pub(crate) fates: Vec<Fate>,
    pub(crate) distortion: Distortion,
    pub(crate) stale_seconds: Option<u32>,
    /// Answered with, not carried out.
    instead: Option<Answer>,
    /// Answered with, carried out.
    after: Option<ApiError>,
    /// Carried out so many seconds later.
    commit_in: Option<u32>,
    drain: Option<u64>,
    date_skew: i64,
    wire: Wire,
}

impl World {
    pub(crate) fn handle(&mut self, call: &Call) -> Reply {
        let who = self.who(call);
        let hits = self.hits(call, who.map(|(p, _)| p));
        let numbers = hits.iter().map(|(number, _)| *number).collect();
        let doctored = Doctored::by(&hits);
        let now = self.now;
        let budget = match who {
            Some((p, _)) => &mut self.projects[p].budget,
            None => &mut self.strangers,
        };
        if let Some(left) = doctored.drain {
            budget.drain(left, now);
        }
        let enough = budget.spend(now);
        let mut answer = if enough { self.answer(call, who, &doctored) } else { self.over_budget(call) };
        for (_, effect) in &hits {
            rewrite(&mut answer, effect);
        }
        let budget = who.map_or(&self.strangers, |(p, _)| &self.projects[p].budget);
        let remaining = budget.remaining();
        answer.headers.extend(budget.headers());
        answer.headers.push(("x-correlation-id", self.dice.hex(32)));
        let date = now + TimeDelta::seconds(doctored.date_skew);
        answer.headers.push(("date", date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()));
        self.journal.write(Request {
            number: 0,
            at: now,
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.query.clone(),
            project: who.map(|(p, _)| self.projects[p].name.clone()),
            body: call.json().unwrap_or(Value::Null),
            status: (!doctored.wire.reset).then_some(answer.status),
            code: answer.body.as_ref().and_then(|body| body["error"]["code"].as_str().map(str::to_owned)),
            remaining,
            faults: numbers,
        });
        Reply { answer, wire: doctored.wire }
    }

    /// The project of the call's token, and whether it may only read.
    fn who(&self, call: &Call) -> Option<(usize, bool)> {
        let sent = call.token.as_deref()?;
        self.projects.iter().enumerate().find_map(|(p, project)| {
            let of = |token: &&super::KnownToken| token.token == sent && !token.revoked;
            project.tokens.iter().find(of).map(|token| (p, token.read_only))
        })
    }

    fn hits(&mut self, call: &Call, project: Option<usize>) -> Vec<(u64, Effect)> {
        let mut facts = Facts { method: &call.method, path: &call.path, ..Facts::default() };
        let name = project.map(|p| self.projects[p].name.clone());
        facts.project = name.as_deref();
        let mut words = call.path.split('/').skip(1);
        if let (Some("servers"), Some(p)) = (words.next(), project) {
            if let Some(server) = words.next().and_then(|id| self.server(p, id).ok()) {
                facts.labels = Some(server.labels.clone());
                facts.server_type = Some(self.catalog.type_of(server.server_type).name.clone());
                facts.location = Some(server.location.clone());
            } else if let Ok(body) = call.json() {
                let server_type = self.catalog.server_type(&body["server_type"]);
                let named = catalog::location(&body["location"]).map(|place| place.name.to_owned());
                let first = |one: &catalog::ServerType| {
                    let offer =
                        one.offers.iter().find(|offer| offer.available).or_else(|| one.offers.first());
                    offer.map(|offer| offer.location.clone())
                };
                facts.location = named.or_else(|| server_type.and_then(first));
                facts.server_type = server_type.map(|one| one.name.clone());
                let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
                facts.labels =
                    body["labels"].as_object().map(|labels| labels.iter().filter_map(text).collect());
            }
        }
        self.faults.hit(&facts, self.now, &mut self.dice)
    }

    fn over_budget(&self, call: &Call) -> Answer {
        let shown: String = call.token.as_deref().unwrap_or_default().chars().take(4).collect();
        let limit = self.limits.calls_per_hour;
        let mut error = ApiError::by_code("rate_limit_exceeded");
        error.message = format!("Limit of '{limit}' requests per hour for token '{shown}...' reached.");
        error.into()
    }

    fn answer(&mut self, call: &Call, who: Option<(usize, bool)>, doctored: &Doctored) -> Answer {
        if let Some(seconds) = doctored.commit_in {
            let at = self.now + TimeDelta::seconds(i64::from(seconds));
            self.agenda.put(at, Event::Commit(Box::new(call.clone())));
        }
        if let Some(answer) = &doctored.instead {
            return answer.clone();
        }
        let Some((p, read_only)) = who else { return ApiError::by_code("unauthorized").into() };
        if read_only && call.method != "GET" {
            return ApiError::by_code("token_readonly").into();
        }
        let answer = self.route(p, call, doctored).unwrap_or_else(Answer::from);
        match &doctored.after {
            None => answer,
            Some(error) => error.clone().into(),
        }
    }

    /// Carries out a request that was answered before.
    pub(crate) fn commit(&mut self, call: &Call) {
        if let Some((p, false)) = self.who(call) {
            // Nobody is there to hear how it went.
            let _ = self.route(p, call, &Doctored::default());
        }
    }
}

impl Doctored {
    fn by(hits: &[(u64, Effect)]) -> Self {
        let mut all = Self::default();
        for (_, effect) in hits {
            match effect {
                Effect::Error { code, status, message } => {
                    let mut error = ApiError::by_code(code);
                    error.status = status.unwrap_or(error.status);
                    error.message = message.clone().unwrap_or(error.message);
                    all.instead = Some(error.into());
                }
                Effect::ErrorAfter { code } => all.after = Some(ApiError::by_code(code)),
                Effect::Html { status } => {
                    all.instead = Some(Answer { status: *status, headers: Vec::new(), body: None });
                    all.wire.html = true;
                }
                Effect::Drain { left } => all.drain = Some(*left),
                Effect::Latency { millis } => all.wire.latency += Duration::from_millis(*millis),
                Effect::SlowBody { millis } => all.wire.pause = Some(Duration::from_millis(*millis)),
                Effect::Truncated => all.wire.truncated = true,
                Effect::ResetBefore => {
                    all.instead = Some(ApiError::by_code("server_error").into());
                    all.wire.reset = true;
                }
                Effect::ResetAfter => all.wire.reset = true,
                Effect::DelayedCommit { seconds } => {
                    all.commit_in = Some(*seconds);
                    all.instead = Some(ApiError::by_code("timeout").into());
                }
                Effect::Doom { fates } => all.fates.extend(fates.iter().cloned()),
                Effect::Stale { seconds } => all.stale_seconds = Some(*seconds),
                Effect::Repeats => all.distortion.repeats = true,
                Effect::EmptyList => all.distortion.empty = true,
                Effect::DateSkew { seconds } => all.date_skew = i64::from(*seconds),
                Effect::Set { .. } | Effect::Remove { .. } => {}
            }
        }
        all
    }
}

fn rewrite(answer: &mut Answer, effect: &Effect) {
    let Some(body) = &mut answer.body else { return };
    if let Effect::Set { pointer, value } = effect {
        faults::set(body, pointer, value);
    }
    if let Effect::Remove { pointer } = effect {
        faults::remove(body, pointer);
    }
}
