//! `/_sim/`: the clock, the bill, the journal, the faults. It asks for no token: whoever reaches the port may use it.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::{Answer, Call};
use crate::errors::ApiError;
use crate::faults::{Deed, Fault};
use crate::options::Pace;
use crate::stand::Shared;

/// An order to the clock: what is said is done in this order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockOrder {
    /// Seconds that pass in a real second from now on; 0 stops it.
    #[serde(default)]
    speed: Option<u32>,
    #[serde(default)]
    step_seconds: Option<f64>,
    #[serde(default)]
    to: Option<DateTime<Utc>>,
}

/// Answers a request whose path after `/_sim` is `call.path`.
pub(crate) fn control(shared: &Arc<Shared>, call: &Call) -> Answer {
    route(shared, call).unwrap_or_else(Answer::from)
}

fn route(shared: &Arc<Shared>, call: &Call) -> Result<Answer, ApiError> {
    let words: Vec<&str> = call.path.split('/').filter(|word| !word.is_empty()).collect();
    match (call.method.as_str(), words.as_slice()) {
        ("GET", ["clock"]) => Ok(Answer::ok(clock(shared))),
        ("POST", ["clock"]) => {
            let order = read::<ClockOrder>(call.json()?)?;
            if let Some(speed) = order.speed {
                let pace = if speed == 0 { Pace::Stepped } else { Pace::Running { speed } };
                shared.clock.lock().expect("no holder panics").set_pace(pace);
            }
            if let Some(seconds) = order.step_seconds.filter(|seconds| (0.0..1e10).contains(seconds)) {
                #[expect(clippy::cast_possible_truncation, reason = "it was compared")]
                shared.step(TimeDelta::milliseconds((seconds * 1000.0) as i64));
            }
            if let Some(to) = order.to {
                let now = shared.world().now;
                shared.step(to - now);
            }
            Ok(Answer::ok(clock(shared)))
        }
        ("GET", ["ledger"]) => {
            let world = shared.world();
            Ok(Answer::ok(shown(&world.ledger.bill(world.now))))
        }
        ("GET", ["requests"]) => {
            let after = call.query("after").and_then(|text| text.parse().ok()).unwrap_or(0);
            let world = shared.world();
            let requests: Vec<_> = world.journal.after(after).collect();
            Ok(Answer::ok(json!({"count": world.journal.count(), "requests": shown(&requests)})))
        }
        ("GET", ["faults"]) => Ok(Answer::ok(json!({"faults": shown(&shared.world().faults.all())}))),
        ("POST", ["faults"]) => {
            let body = call.json()?;
            if body.get("deed").is_some() {
                let deed = read::<Deed>(body)?;
                shared.with(|world| world.do_deed(deed)).map_err(ApiError::invalid)?;
                return Ok(Answer::created(json!({"done": true})));
            }
            let fault = read::<Fault>(body)?;
            let number = shared.with(|world| {
                let now = world.now;
                world.faults.add(fault, now)
            });
            Ok(Answer::created(json!({"number": number.map_err(ApiError::invalid)?})))
        }
        ("DELETE", ["faults"]) => {
            shared.with(|world| world.faults.clear());
            Ok(Answer::empty())
        }
        ("DELETE", ["faults", number]) => {
            let number = number.parse().map_err(|_| ApiError::by_code("not_found"))?;
            let removed = shared.with(|world| world.faults.remove(number));
            if removed { Ok(Answer::empty()) } else { Err(ApiError::by_code("not_found")) }
        }
        ("GET", ["servers"]) => Ok(Answer::ok(json!({"servers": shown(&shared.servers())}))),
        ("GET", ["servers", which, "metadata", ..]) => {
            let from = call.path.find("/metadata/").map_or(call.path.len(), |at| at + "/metadata".len());
            let world = shared.world();
            let (p, id) = world.named_server(which).map_err(|_| ApiError::by_code("not_found"))?;
            let told = world.metadata(p, id, &call.path[from..]);
            told.map(|text| Answer::ok(text.into())).ok_or_else(|| ApiError::by_code("not_found"))
        }
        _ => Err(ApiError::by_code("not_found")),
    }
}

fn clock(shared: &Shared) -> Value {
    let pace = shared.clock.lock().expect("no holder panics").pace();
    let speed = match pace {
        Pace::Stepped => 0,
        Pace::Running { speed } => speed,
    };
    let world = shared.world();
    json!({"now": world.now, "speed": speed, "next_event": world.agenda.next()})
}

fn read<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, ApiError> {
    serde_json::from_value(body).map_err(|error| ApiError::invalid(error.to_string()))
}

fn shown(what: &impl serde::Serialize) -> Value {
    serde_json::to_value(what).expect("what is shown has text for keys")
}
