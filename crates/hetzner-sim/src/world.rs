//! The whole state of the stand-in, and the two things that change it: a request, and time. No clock is read here, no
//! chance is taken but that of its own dice, and nothing is waited for.

mod requests;
mod routes;

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::actions::{Action, Work};
use crate::agenda::Agenda;
use crate::budget::Budget;
use crate::catalog::{Catalog, Image};
use crate::dice::Dice;
use crate::faults::Faults;
use crate::firewalls::Firewall;
use crate::guests::Order;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::networks::Network;
use crate::options::{Limits, Token};
use crate::placement_groups::PlacementGroup;
use crate::primary_ips::PrimaryIp;
use crate::servers::Server;
use crate::ssh_keys::SshKey;

pub(crate) use crate::options::{Profile, Timings};
pub(crate) use requests::{Reply, Wire};

/// The first id is at least this: too large for 32 bits.
const FIRST_ID: i64 = 1 << 33;

/// A server that is gone, as it was shown last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Grave {
    pub(crate) created: DateTime<Utc>,
    pub(crate) gone: DateTime<Utc>,
    pub(crate) shown: Value,
}

/// What belongs to one project. Its tokens are the only way in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) tokens: Vec<KnownToken>,
    pub(crate) budget: Budget,
    pub(crate) servers: BTreeMap<i64, Server>,
    pub(crate) graves: VecDeque<Grave>,
    pub(crate) actions: BTreeMap<i64, Action>,
    pub(crate) primary_ips: BTreeMap<i64, PrimaryIp>,
    pub(crate) ssh_keys: BTreeMap<i64, SshKey>,
    pub(crate) networks: BTreeMap<i64, Network>,
    pub(crate) firewalls: BTreeMap<i64, Firewall>,
    pub(crate) placement_groups: BTreeMap<i64, PlacementGroup>,
    /// Snapshots and backups.
    pub(crate) images: BTreeMap<i64, Image>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KnownToken {
    pub(crate) token: String,
    pub(crate) read_only: bool,
    pub(crate) revoked: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct World {
    pub(crate) now: DateTime<Utc>,
    pub(crate) profile: Profile,
    pub(crate) timings: Timings,
    pub(crate) limits: Limits,
    /// Whether the details of a `uniqueness_error` name the field.
    pub(crate) fields_on_conflict: bool,
    pub(crate) dice: Dice,
    pub(crate) catalog: Catalog,
    pub(crate) projects: Vec<Project>,
    /// Calls by those who are nobody count too.
    strangers: Budget,
    pub(crate) agenda: Agenda,
    pub(crate) ledger: Ledger,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    last_id: i64,
    /// Addresses that were given out.
    pub(crate) addresses: u64,
    /// What is to be done to guests, in order.
    #[serde(skip)]
    orders: Vec<Order>,
}

impl World {
    pub(crate) fn new(
        now: DateTime<Utc>,
        seed: u64,
        profile: Profile,
        timings: Timings,
        limits: Limits,
    ) -> Self {
        let mut dice = Dice::new(seed);
        let last_id = FIRST_ID + i64::try_from(dice.below(1 << 20)).unwrap_or(0);
        Self {
            now,
            profile,
            timings,
            limits,
            fields_on_conflict: true,
            dice,
            catalog: Catalog::new(),
            projects: Vec::new(),
            strangers: Budget::full(limits.calls_per_hour, limits.calls_per_second, now),
            agenda: Agenda::default(),
            ledger: Ledger::default(),
            journal: Journal::default(),
            faults: Faults::default(),
            last_id,
            addresses: 0,
            orders: Vec::new(),
        }
    }

    /// Lets a token into its project, which is made if there is none.
    pub(crate) fn admit(&mut self, token: &Token) {
        let known = KnownToken { token: token.token.clone(), read_only: token.read_only, revoked: false };
        if let Some(project) = self.projects.iter_mut().find(|project| project.name == token.project) {
            project.tokens.retain(|other| other.token != known.token);
            project.tokens.push(known);
            return;
        }
        self.projects.push(Project {
            name: token.project.clone(),
            tokens: vec![known],
            budget: Budget::full(self.limits.calls_per_hour, self.limits.calls_per_second, self.now),
            servers: BTreeMap::new(),
            graves: VecDeque::new(),
            actions: BTreeMap::new(),
            primary_ips: BTreeMap::new(),
            ssh_keys: BTreeMap::new(),
            networks: BTreeMap::new(),
            firewalls: BTreeMap::new(),
            placement_groups: BTreeMap::new(),
            images: BTreeMap::new(),
        });
    }

    /// Lets everything happen that is due until then. Time does not go back.
    pub(crate) fn advance(&mut self, to: DateTime<Utc>) {
        while let Some((at, event)) = self.agenda.due(to) {
            self.happen(at, event);
        }
        self.now = self.now.max(to);
    }

    pub(crate) fn next_id(&mut self) -> i64 {
        self.last_id += 1 + i64::try_from(self.dice.below(16)).unwrap_or(0);
        self.last_id
    }

    pub(crate) fn order(&mut self, order: Order) {
        self.orders.push(order);
    }

    pub(crate) fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// After a restart: the guests that ran are to run again.
    pub(crate) fn order_running(&mut self) {
        for (p, project) in self.projects.iter().enumerate() {
            for server in project.servers.values() {
                if matches!(server.guest, crate::servers::Guest::Booting | crate::servers::Guest::Up) {
                    self.orders.push(Order::Start { project: p, server: server.id });
                }
            }
        }
    }
}

/// As the API shows a time.
pub(crate) fn whole_second(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(0)
}

impl Timings {
    /// `millis` and up to the share of it that is left to chance.
    fn about(&self, millis: u64, dice: &mut Dice) -> TimeDelta {
        let more = millis * u64::from(self.jitter_percent) / 100;
        let by_chance = if more == 0 { 0 } else { dice.below(more) };
        TimeDelta::milliseconds(i64::try_from(millis + by_chance).unwrap_or(i64::MAX / 2))
    }

    pub(crate) fn of(&self, work: Work, dice: &mut Dice) -> TimeDelta {
        let millis = match work {
            Work::Create => self.create_millis,
            Work::Start => self.start_millis,
            Work::CreateImage { .. } => self.image_millis,
            Work::Rebuild => self.rebuild_millis,
            Work::Stop
            | Work::Shutdown
            | Work::Reboot
            | Work::Reset
            | Work::Attach
            | Work::Detach
            | Work::Protect
            | Work::Delete
            | Work::Nothing => self.other_millis,
        };
        self.about(millis, dice)
    }

    pub(crate) fn boot(&self, dice: &mut Dice) -> TimeDelta {
        self.about(self.boot_millis, dice)
    }

    pub(crate) fn shutdown(&self) -> TimeDelta {
        TimeDelta::milliseconds(i64::try_from(self.shutdown_millis).unwrap_or(i64::MAX / 2))
    }

    pub(crate) fn deleting(&self) -> TimeDelta {
        TimeDelta::milliseconds(i64::try_from(self.deleting_millis).unwrap_or(i64::MAX / 2))
    }

    pub(crate) fn stuck_lock(&self) -> TimeDelta {
        TimeDelta::milliseconds(i64::try_from(self.stuck_lock_millis).unwrap_or(i64::MAX / 2))
    }
}
