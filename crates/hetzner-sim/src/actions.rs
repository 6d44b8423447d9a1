//! Actions: what takes time. Each does one piece of work to a server when it ends, and may have one after it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agenda::Event;
use crate::call::{Answer, Call, stamp};
use crate::errors::ApiError;
use crate::listing::{self, Distortion};
use crate::world::World;

/// Where a stuck action stays.
const STUCK_PERCENT: i64 = 50;

/// What an action does to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    Create,
    Start,
    Stop,
    Shutdown,
    Reboot,
    Reset,
    Attach,
    Detach,
    CreateImage {
        image: i64,
    },
    Rebuild,
    Protect,
    Delete,
    /// Something that is done when it is asked for.
    Nothing,
}

impl Work {
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::Create => "create_server",
            Self::Start => "start_server",
            Self::Stop => "stop_server",
            Self::Shutdown => "shutdown_server",
            Self::Reboot => "reboot_server",
            Self::Reset => "reset_server",
            Self::Attach => "attach_to_network",
            Self::Detach => "detach_from_network",
            Self::CreateImage { .. } => "create_image",
            Self::Rebuild => "rebuild_server",
            Self::Protect => "change_protection",
            Self::Delete => "delete_server",
            Self::Nothing => "set_up",
        }
    }
}

/// How far an action is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Progress {
    /// Behind another one.
    Waiting,
    Running {
        since: DateTime<Utc>,
        ends: DateTime<Utc>,
    },
    Stuck,
    Done {
        at: DateTime<Utc>,
    },
    Failed {
        at: DateTime<Utc>,
        code: String,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Action {
    pub(crate) id: i64,
    pub(crate) work: Work,
    command: String,
    started: DateTime<Utc>,
    pub(crate) progress: Progress,
    /// Id and kind.
    resources: Vec<(i64, String)>,
    /// The server it holds while it runs.
    pub(crate) server: Option<i64>,
    /// Begun when this one has succeeded.
    pub(crate) next: Option<i64>,
    /// Cannot be found by anybody.
    vanished: bool,
}

impl Action {
    pub(crate) fn show(&self, now: DateTime<Utc>) -> Value {
        let (status, progress, finished, error) = match &self.progress {
            Progress::Waiting => ("running", 0, None, None),
            Progress::Stuck => ("running", STUCK_PERCENT, None, None),
            Progress::Running { since, ends } => {
                let whole = (*ends - *since).num_milliseconds().max(1);
                let percent = (now - *since).num_milliseconds() * 100 / whole;
                ("running", percent.clamp(0, 99), None, None)
            }
            Progress::Done { at } => ("success", 100, Some(*at), None),
            Progress::Failed { at, code } => ("error", 100, Some(*at), Some(code)),
        };
        let resources: Vec<Value> =
            self.resources.iter().map(|(id, kind)| json!({"id": id, "type": kind})).collect();
        json!({
            "id": self.id, "command": self.command, "status": status, "progress": progress,
            "started": stamp(self.started), "finished": finished.map(stamp),
            "error": error.map(|code| json!({"code": code, "message": format!("Action failed: {code}")})),
            "resources": resources,
        })
    }

    fn is_over(&self) -> bool {
        matches!(self.progress, Progress::Done { .. } | Progress::Failed { .. })
    }
}

impl World {
    /// Writes down an action that has not begun. `others` are resources besides its server.
    pub(crate) fn plan_action(
        &mut self,
        project: usize,
        work: Work,
        server: Option<i64>,
        others: &[(i64, &str)],
    ) -> i64 {
        let id = self.next_id();
        let own = server.map(|id| (id, "server".to_owned()));
        let others = others.iter().map(|(id, kind)| (*id, (*kind).to_owned()));
        let action = Action {
            id,
            work,
            command: work.command().to_owned(),
            started: self.now,
            progress: Progress::Waiting,
            resources: own.into_iter().chain(others).collect(),
            server,
            next: None,
            vanished: false,
        };
        self.projects[project].actions.insert(id, action);
        if let Some(server) = server.and_then(|id| self.projects[project].servers.get_mut(&id)) {
            server.locks.push(id);
        }
        id
    }

    /// An action that is done as soon as it is asked for, of a resource that is no server.
    pub(crate) fn done_action(&mut self, project: usize, command: &str, resources: &[(i64, &str)]) -> Value {
        let id = self.plan_action(project, Work::Nothing, None, resources);
        let now = self.now;
        let action = self.action_mut(project, id);
        command.clone_into(&mut action.command);
        action.progress = Progress::Done { at: now };
        action.show(now)
    }

    pub(crate) fn action_mut(&mut self, project: usize, id: i64) -> &mut Action {
        self.projects[project].actions.get_mut(&id).expect("actions are never removed")
    }

    pub(crate) fn begin_action(&mut self, project: usize, id: i64, lasts: TimeDelta) {
        let (now, ends) = (self.now, self.now + lasts);
        self.action_mut(project, id).progress = Progress::Running { since: now, ends };
        self.agenda.put(ends, Event::ActionEnds { project, action: id });
    }

    /// It will not end. Its server is held for a while all the same.
    pub(crate) fn stick_action(&mut self, project: usize, id: i64) {
        self.action_mut(project, id).progress = Progress::Stuck;
        self.agenda.put(self.now + self.timings.stuck_lock(), Event::ActionLetsGo { project, action: id });
    }

    pub(crate) fn vanish_action(&mut self, project: usize, id: i64) {
        self.action_mut(project, id).vanished = true;
    }

    /// Ends it well or, with a code, badly; then those behind it end badly too.
    pub(crate) fn finish_action(&mut self, project: usize, id: i64, failure: Option<&str>) {
        let now = self.now;
        let action = self.action_mut(project, id);
        action.progress = match failure {
            None => Progress::Done { at: now },
            Some(code) => Progress::Failed { at: now, code: code.to_owned() },
        };
        let behind = action.next;
        self.let_go(project, id);
        if failure.is_some()
            && let Some(behind) = behind
        {
            self.finish_action(project, behind, failure);
        }
    }

    pub(crate) fn let_go(&mut self, project: usize, id: i64) {
        let server = self.action_mut(project, id).server;
        if let Some(server) = server.and_then(|id| self.projects[project].servers.get_mut(&id)) {
            server.locks.retain(|lock| *lock != id);
        }
    }

    /// Whatever runs for a server that is gone has no work left to do; nobody is left waiting for it.
    pub(crate) fn end_actions_of(&mut self, project: usize, server: i64, except: i64) {
        let of = |action: &&Action| action.server == Some(server) && action.id != except && !action.is_over();
        let left: Vec<i64> =
            self.projects[project].actions.values().filter(of).map(|action| action.id).collect();
        for id in left {
            self.finish_action(project, id, Some("action_failed"));
        }
    }

    /// An action and all that wait behind it let go of their server.
    pub(crate) fn let_all_go(&mut self, project: usize, id: i64) {
        let mut at = Some(id);
        while let Some(id) = at {
            self.let_go(project, id);
            at = self.action_mut(project, id).next;
        }
    }

    pub(crate) fn show_action(&self, project: usize, id: i64) -> Value {
        self.projects[project].actions.get(&id).map_or(Value::Null, |action| action.show(self.now))
    }

    /// `GET /actions/{id}`.
    pub(crate) fn get_action(&self, project: usize, id: &str) -> Result<Answer, ApiError> {
        let action = id.parse().ok().and_then(|id: i64| self.projects[project].actions.get(&id));
        let action =
            action.filter(|action| !action.vanished).ok_or_else(|| ApiError::not_found("action", id))?;
        Ok(Answer::ok(json!({"action": action.show(self.now)})))
    }

    /// `GET /actions?id=1&id=2`; without ids it is an endpoint that is no more.
    pub(crate) fn list_actions(&self, project: usize, call: &Call) -> Result<Answer, ApiError> {
        let mut ids = Vec::new();
        for id in call.queries("id") {
            ids.push(id.parse::<i64>().map_err(|_| ApiError::field("id", "must be an integer"))?);
        }
        if ids.is_empty() {
            let details = json!({"announcement": "https://docs.hetzner.cloud/changelog#2025-01-30-listing-arbitrary-actions-in-the-actions-list-endpoint-is-removed"});
            let message = "listing all actions has been removed: the `id` query parameter is required";
            return Err(ApiError::new(410, "deprecated_api_endpoint", message, details));
        }
        self.actions_where(project, call, |action| ids.contains(&action.id))
    }

    /// `GET /servers/{id}/actions`.
    pub(crate) fn list_actions_of(
        &self,
        project: usize,
        server: i64,
        call: &Call,
    ) -> Result<Answer, ApiError> {
        self.actions_where(project, call, |action| action.server == Some(server))
    }

    fn actions_where(
        &self,
        project: usize,
        call: &Call,
        wanted: impl Fn(&Action) -> bool,
    ) -> Result<Answer, ApiError> {
        let states: Vec<&str> = call.queries("status").collect();
        let rows = self.projects[project]
            .actions
            .values()
            .filter(|action| !action.vanished && wanted(action))
            .map(|action| action.show(self.now))
            .filter(|row| states.is_empty() || states.iter().any(|state| row["status"] == *state))
            .collect();
        let sortable = ["id", "command", "status", "progress", "started", "finished"];
        listing::list(call, "actions", rows, &sortable, Distortion::default())
    }
}
