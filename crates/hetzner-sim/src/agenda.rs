//! What will happen by itself, and when. Kept with the world's state, so that running actions go on after a restart.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::call::Call;

/// Something that happens at its time. Ids are of project (its place in the list) and thing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Event {
    /// An action comes to its end.
    ActionEnds { project: usize, action: i64 },
    /// A stuck action lets go of its server.
    ActionLetsGo { project: usize, action: i64 },
    /// The system on a server, in its `boot`th boot, is up.
    GuestUp { project: usize, server: i64, boot: u64 },
    /// It dies: the server runs on.
    GuestDies { project: usize, server: i64, boot: u64 },
    /// Nothing from it gets out any more.
    GuestCutOff { project: usize, server: i64, boot: u64 },
    /// It has obeyed the button.
    GuestShutsDown { project: usize, server: i64, boot: u64 },
    /// The server is off all at once.
    PowerFails { project: usize, server: i64 },
    /// A deletion is done.
    ServerGone { project: usize, server: i64 },
    /// A request is carried out whose answer was given long ago.
    Commit(Box<Call>),
    /// A type can be ordered again at a location.
    InStock { server_type: String, location: String },
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Agenda(Vec<(DateTime<Utc>, Event)>);

impl Agenda {
    /// After everything that was put down for the same moment before.
    pub(crate) fn put(&mut self, at: DateTime<Utc>, event: Event) {
        let place = self.0.partition_point(|(other, _)| *other <= at);
        self.0.insert(place, (at, event));
    }

    /// The first event, if it is due.
    pub(crate) fn due(&mut self, now: DateTime<Utc>) -> Option<(DateTime<Utc>, Event)> {
        self.0.first().is_some_and(|(at, _)| *at <= now).then(|| self.0.remove(0))
    }

    /// When the first event is due.
    pub(crate) fn next(&self) -> Option<DateTime<Utc>> {
        self.0.first().map(|(at, _)| *at)
    }
}
