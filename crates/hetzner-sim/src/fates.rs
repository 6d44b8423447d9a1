//! What a server is doomed to from its creation on, by a fault that matched the request.

use serde::{Deserialize, Serialize};

/// One thing that will go wrong with a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fate {
    /// `create_server` ends in an error; the server is there and costs.
    CreateFails {
        /// The action's error code, `action_failed` as a rule.
        code: String,
    },
    /// `start_server` ends in an error; the server is there, off, and costs.
    StartFails {
        /// The action's error code.
        code: String,
    },
    /// `create_server` stays at progress 50, the server `initializing`.
    CreateSticks,
    /// `start_server` stays at progress 50, the server `starting`.
    StartSticks,
    /// `create_server` cannot be found; the server is made none the less.
    CreateVanishes,
    /// Power is on, and no system comes up.
    NeverBoots,
    /// The system comes up and gets no answer from its metadata service.
    MetadataDown,
    /// The system dies so long after it was up; the API says `running`.
    DiesAfter {
        /// Seconds after it was up.
        seconds: u32,
    },
    /// The system lives, and its packets go nowhere, from so long after it was up.
    CutOffAfter {
        /// Seconds after it was up.
        seconds: u32,
    },
    /// `shutdown` succeeds and nothing follows.
    IgnoresAcpi,
    /// The server is off so long after it was up.
    PowerFailsAfter {
        /// Seconds after it was up.
        seconds: u32,
    },
}
