//! Refuses what no worker of this grid can ever hold. What is decided is core's; here it is known which workers there
//! are, and what could be added.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rgrid_api::error::ErrorCode;
use rgrid_api::workers::CapacityBody;
use rgrid_core::id::AccountId;
use rgrid_core::sizes::{self, TooLarge};
use rgrid_core::submission::Wanted;
use rgrid_core::worker::Capacity;
use rgrid_store::idempotency::Idempotency;

use crate::error::Refused;
use crate::state::App;

/// Sizes that were just read are not read again for this long. Only acceptance goes by them.
const REMEMBERED: Duration = Duration::from_secs(1);

/// What can be held here.
#[derive(Debug)]
pub(crate) struct Sizes {
    /// The largest worker that could be added; `None` when none can.
    largest_type: Option<Capacity>,
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    largest: Vec<Capacity>,
    until: Instant,
}

impl Sizes {
    pub(crate) fn new(largest_type: Option<Capacity>) -> Self {
        Self { largest_type, known: Mutex::default() }
    }

    /// True when workers can be added.
    pub(crate) fn can_grow(&self) -> bool {
        self.largest_type.is_some()
    }

    /// True when a worker that was there a moment ago could hold it.
    fn just_held(&self, wanted: &Wanted) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|known| {
            // Where there was none, one may have come.
            known.until > Instant::now()
                && !known.largest.is_empty()
                && sizes::check(wanted, &known.largest).is_ok()
        })
    }

    /// The largest of the workers that are there and of those that could be.
    fn remember(&self, workers: Vec<Capacity>) -> Vec<Capacity> {
        let largest = sizes::largest(workers.into_iter().chain(self.largest_type));
        let known = Known { largest: largest.clone(), until: Instant::now() + REMEMBERED };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        largest
    }
}

/// Refuses a submission that could only wait for ever. A repetition of what was accepted before is let through: it is
/// answered by what that made.
pub(crate) async fn check(
    app: &App,
    account: AccountId,
    wanted: &Wanted,
    idempotency: Option<&Idempotency>,
) -> Result<(), Refused> {
    if *wanted == Wanted::default() || app.sizes.just_held(wanted) {
        return Ok(());
    }
    let largest = app.sizes.remember(app.store.worker_sizes().await?);
    let Err(too_large) = sizes::check(wanted, &largest) else { return Ok(()) };
    match idempotency {
        Some(key) if app.store.made_before(account, key).await?.is_some() => Ok(()),
        Some(_) | None => Err(refused(&too_large)),
    }
}

fn refused(too_large: &TooLarge) -> Refused {
    let largest: Vec<CapacityBody> = too_large.largest.iter().map(|size| (*size).into()).collect();
    let hint = match too_large.at_most() {
        Some(options) => format!("ask for at most {options}, or add a larger worker"),
        None => "ask for less of one of them, or add a larger worker".to_owned(),
    };
    let message = format!("no worker can ever hold this: {too_large}");
    Refused::new(ErrorCode::Invalid, message).hint(hint).details(serde_json::json!({ "largest": largest }))
}
