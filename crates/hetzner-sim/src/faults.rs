//! What goes wrong on purpose: rules that are matched against every request, and how often each has hit.

mod deeds;
mod rewrite;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dice::Dice;
use crate::fates::Fate;
use crate::labels::{Labels, Selector};

pub use deeds::Deed;
pub(crate) use rewrite::{remove, set};

/// Faults that can be set at once.
const FAULTS_MAX: usize = 10_000;

/// A rule: which requests it hits, how often, for how long, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests; all of them when nothing is said.
    #[serde(default)]
    pub on: Matching,
    /// What happens to them.
    pub effect: Effect,
    /// How many requests it hits before it is used up; none is no end, and one is what is meant when nothing is said.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// Seconds of the stand-in's clock after which it is over.
    #[serde(default)]
    pub for_seconds: Option<u32>,
}

#[expect(clippy::unnecessary_wraps, reason = "what serde wants of a default")]
fn once() -> Option<u32> {
    Some(1)
}

impl Fault {
    /// Hits the next request that matches.
    pub fn once(on: Matching, effect: Effect) -> Self {
        Self { on, effect, times: Some(1), for_seconds: None }
    }

    /// Hits every request that matches.
    pub fn sticky(on: Matching, effect: Effect) -> Self {
        Self { times: None, ..Self::once(on, effect) }
    }
}

/// Which requests a fault hits: those of which all that is said here is true.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matching {
    /// `POST` and so on.
    pub method: Option<String>,
    /// The path after `/v1`; a `*` stands for one part of it: `/servers/*/actions/poweroff`.
    pub path: Option<String>,
    /// Only the so-manieth request that matches otherwise, from 1.
    pub nth: Option<u32>,
    /// From 0 to 1.
    pub probability: Option<f64>,
    /// A label selector, for the labels in the request or of the server it names.
    pub labels: Option<String>,
    /// The name of the type in the request, or of the server it names.
    pub server_type: Option<String>,
    /// Likewise of the location; also of the one that is taken when a request names none.
    pub location: Option<String>,
    /// The project whose token it is.
    pub project: Option<String>,
}

impl Matching {
    /// Requests of this method and path.
    pub fn request(method: &str, path: &str) -> Self {
        Self { method: Some(method.to_owned()), path: Some(path.to_owned()), ..Self::default() }
    }
}

/// What happens to a request that is hit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Not carried out; answered with this error.
    Error {
        /// A code of the API's, or one of your own.
        code: String,
        /// In place of the code's own status.
        #[serde(default)]
        status: Option<u16>,
        /// In place of the code's own message.
        #[serde(default)]
        message: Option<String>,
    },
    /// Carried out, and answered with this error.
    ErrorAfter {
        /// A code of the API's, or one of your own.
        code: String,
    },
    /// Not carried out; answered with a page of HTML, as a proxy does.
    Html {
        /// 502 and the like.
        status: u16,
    },
    /// The budget of calls falls to this before the request is counted.
    Drain {
        /// Calls that are left.
        left: u64,
    },
    /// The answer comes so much later, by the real clock.
    Latency {
        /// Milliseconds.
        millis: u64,
    },
    /// The answer's body comes in sixteen pieces with such a pause between them, by the real clock.
    SlowBody {
        /// Milliseconds.
        millis: u64,
    },
    /// Half of the answer's JSON is missing.
    Truncated,
    /// The connection is reset; the request is not carried out.
    ResetBefore,
    /// The request is carried out; then the connection is reset.
    ResetAfter,
    /// Answered with a time-out at once, carried out later, by the stand-in's clock.
    DelayedCommit {
        /// Seconds from now.
        seconds: u32,
    },
    /// A server that is created by the request is doomed.
    Doom {
        /// What will happen to it.
        fates: Vec<Fate>,
    },
    /// A list of servers shows which there were so long ago.
    Stale {
        /// Seconds.
        seconds: u32,
    },
    /// A list shows one thing on two pages.
    Repeats,
    /// A list shows nothing.
    EmptyList,
    /// The answer's `Date` is wrong by so much.
    DateSkew {
        /// Seconds; later than it is when positive.
        seconds: i32,
    },
    /// A value in the answer is another: new statuses, new fields.
    Set {
        /// Like `/servers/*/status`; `**` stands for any number of parts.
        pointer: String,
        /// What is there now.
        value: Value,
    },
    /// A field of the answer is not there.
    Remove {
        /// Like `/**/deprecated`.
        pointer: String,
    },
}

/// What a fault is matched against.
#[derive(Debug, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) labels: Option<Labels>,
    pub(crate) server_type: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) project: Option<&'a str>,
}

/// A fault that is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// By which it is known in the journal.
    pub number: u64,
    /// The rule.
    pub fault: Fault,
    /// Requests that it could have hit.
    pub matched: u64,
    /// Requests that it has hit.
    pub hits: u64,
    /// When it is over.
    pub until: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Faults {
    standing: Vec<Standing>,
    count: u64,
}

impl Faults {
    /// Sets a fault; refuses a selector that cannot be read, and more faults than there can be.
    pub(crate) fn add(&mut self, fault: Fault, now: DateTime<Utc>) -> Result<u64, String> {
        if self.standing.len() >= FAULTS_MAX {
            return Err(format!("there are {FAULTS_MAX} faults already"));
        }
        if fault.on.labels.as_deref().is_some_and(|selector| Selector::parse(selector).is_err()) {
            return Err("the label selector cannot be read".to_owned());
        }
        self.count += 1;
        let until = fault.for_seconds.map(|seconds| now + TimeDelta::seconds(i64::from(seconds)));
        self.standing.push(Standing { number: self.count, fault, matched: 0, hits: 0, until });
        Ok(self.count)
    }

    /// All that were set, those that are used up too.
    pub(crate) fn all(&self) -> &[Standing] {
        &self.standing
    }

    pub(crate) fn clear(&mut self) {
        self.standing.clear();
    }

    pub(crate) fn remove(&mut self, number: u64) -> bool {
        let before = self.standing.len();
        self.standing.retain(|standing| standing.number != number);
        self.standing.len() < before
    }

    /// The numbers and effects of those that hit this request, in the order they were set.
    pub(crate) fn hit(
        &mut self,
        facts: &Facts<'_>,
        now: DateTime<Utc>,
        dice: &mut Dice,
    ) -> Vec<(u64, Effect)> {
        let mut hits = Vec::new();
        for standing in &mut self.standing {
            let used_up = standing.fault.times.is_some_and(|times| standing.hits >= u64::from(times));
            let over = standing.until.is_some_and(|until| until <= now);
            if used_up || over || !standing.fault.on.matches(facts) {
                continue;
            }
            standing.matched += 1;
            let on = &standing.fault.on;
            let is_nth = on.nth.is_none_or(|nth| u64::from(nth) == standing.matched);
            if is_nth && on.probability.is_none_or(|probability| dice.happens(probability)) {
                standing.hits += 1;
                hits.push((standing.number, standing.fault.effect.clone()));
            }
        }
        hits
    }
}

impl Matching {
    fn matches(&self, facts: &Facts<'_>) -> bool {
        let same = |wanted: &Option<String>, has: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| has == Some(wanted))
        };
        let by_labels = |selector: &String| {
            let selector = Selector::parse(selector);
            let labels = facts.labels.as_ref();
            selector.is_ok_and(|selector| {
                labels.is_some_and(|labels| selector.selects(|key| labels.get(key).cloned()))
            })
        };
        same(&self.method, Some(facts.method))
            && self.path.as_deref().is_none_or(|pattern| path_matches(pattern, facts.path))
            && self.labels.as_ref().is_none_or(by_labels)
            && same(&self.server_type, facts.server_type.as_deref())
            && same(&self.location, facts.location.as_deref())
            && same(&self.project, facts.project)
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(part)) if wanted == part || wanted == "*" => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(fault: Fault, calls: &[(&str, &str, i64)]) -> Vec<usize> {
        let start = DateTime::from_timestamp(0, 0).unwrap();
        let (mut faults, mut dice) = (Faults::default(), Dice::new(1));
        faults.add(fault, start).unwrap();
        let hit = |(method, path, seconds): &(&str, &str, i64)| {
            let labels = Some([("role".to_owned(), "worker".to_owned())].into());
            let facts = Facts { method, path, labels, location: Some("fsn1".to_owned()), ..Facts::default() };
            !faults.hit(&facts, start + TimeDelta::seconds(*seconds), &mut dice).is_empty()
        };
        let hit: Vec<bool> = calls.iter().map(hit).collect();
        (0..calls.len()).filter(|n| hit[*n]).collect()
    }

    #[test]
    fn a_fault_hits_what_it_says_and_no_oftener() {
        let calls = [
            ("GET", "/servers", 0),
            ("POST", "/servers", 1),
            ("GET", "/servers/1", 2),
            ("POST", "/servers", 9),
        ];
        let on = Matching::request("POST", "/servers");
        let effect = || Effect::Truncated;
        assert_eq!(hits(Fault::once(on.clone(), effect()), &calls), [1]);
        assert_eq!(hits(Fault::sticky(on.clone(), effect()), &calls), [1, 3]);
        let sticky = |on| Fault::sticky(on, effect());
        assert_eq!(hits(sticky(Matching { nth: Some(2), ..on.clone() }), &calls), [3]);
        assert_eq!(hits(sticky(Matching { probability: Some(0.0), ..on.clone() }), &calls), [0_usize; 0]);
        assert_eq!(
            hits(sticky(Matching { labels: Some("role=boss".to_owned()), ..on.clone() }), &calls),
            [0_usize; 0]
        );
        assert_eq!(hits(sticky(Matching { labels: Some("role".to_owned()), ..on.clone() }), &calls), [1, 3]);
        assert_eq!(
            hits(sticky(Matching { location: Some("hel1".to_owned()), ..on.clone() }), &calls),
            [0_usize; 0]
        );
        assert_eq!(
            hits(sticky(Matching { path: Some("/servers/*".to_owned()), ..Matching::default() }), &calls),
            [2]
        );
        assert_eq!(hits(Fault { for_seconds: Some(5), ..sticky(on) }, &calls), [1]);
    }

    #[test]
    fn a_fault_reads_from_json_as_the_page_on_it_shows() {
        let text = r#"{"on": {"method": "POST", "path": "/servers", "server_type": "cpx22", "location": "fsn1"},
            "effect": {"kind": "error", "code": "resource_unavailable"}, "times": null, "for_seconds": 60}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!((fault.times, fault.for_seconds), (None, Some(60)));
        let doomed = r#"{"effect": {"kind": "doom", "fates": [{"fate": "never_boots"}, {"fate": "dies_after", "seconds": 9}]}}"#;
        let fault: Fault = serde_json::from_str(doomed).unwrap();
        assert_eq!(fault.times, Some(1));
        assert!(
            serde_json::from_str::<Fault>(r#"{"effect": {"kind": "truncated"}, "on": {"verb": "GET"}}"#)
                .is_err()
        );
    }
}
