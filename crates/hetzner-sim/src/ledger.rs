//! The bill: what each server and each address has cost by a given time. It reads only what was written at creation and
//! deletion, so it knows nothing of how anybody else counts.
//!
//! Every started hour counts, from the second of `created` to the acceptance of the deletion, whatever the power state.
//! An hour belongs to the calendar month (UTC) in which it starts; the hours of one line in one month cost at most the
//! monthly price. Snapshots, volumes and traffic cost nothing here.

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::call::stamp;
use crate::labels::Labels;
use crate::money::Nanos;

/// What a line of the bill is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Billed {
    /// A server.
    Server,
    /// An IPv4 address; IPv6 is free.
    PrimaryIpv4,
}

/// What was written down when something that costs was created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) billed: Billed,
    pub(crate) project: String,
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) server_type: Option<String>,
    pub(crate) location: String,
    pub(crate) labels: Labels,
    pub(crate) hourly: Nanos,
    pub(crate) monthly: Nanos,
    pub(crate) created: DateTime<Utc>,
    pub(crate) deleted: Option<DateTime<Utc>>,
}

/// One line of the bill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it is for.
    pub billed: Billed,
    /// The project that pays.
    pub project: String,
    /// The id of the server or address.
    pub id: i64,
    /// Its name when it was created.
    pub name: String,
    /// The server's type.
    pub server_type: Option<String>,
    /// Where it stands.
    pub location: String,
    /// Its labels when it was created.
    pub labels: Labels,
    /// RFC 3339, to the second.
    pub created: String,
    /// RFC 3339, to the second; none while it lives.
    pub deleted: Option<String>,
    /// Hours that have been started.
    pub hours: u64,
    /// Net price of an hour, as it was at creation, in billionths of a euro.
    pub hourly_nanos: u64,
    /// Net, in millionths of a euro.
    pub micros: u64,
}

/// The bill as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bill {
    /// As of when, RFC 3339.
    pub now: String,
    /// In the order of creation.
    pub lines: Vec<Line>,
    /// The sum, net, in millionths of a euro.
    pub micros: u64,
    /// Servers that have not been deleted.
    pub servers_alive: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Ledger(Vec<Entry>);

impl Ledger {
    pub(crate) fn open(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    pub(crate) fn close(&mut self, billed: Billed, id: i64, now: DateTime<Utc>) {
        let of = |entry: &&mut Entry| entry.billed == billed && entry.id == id && entry.deleted.is_none();
        if let Some(entry) = self.0.iter_mut().find(of) {
            entry.deleted = Some(now);
        }
    }

    pub(crate) fn bill(&self, now: DateTime<Utc>) -> Bill {
        let lines: Vec<Line> = self.0.iter().map(|entry| entry.line(now)).collect();
        let alive = self.0.iter().filter(|entry| entry.billed == Billed::Server && entry.deleted.is_none());
        Bill {
            now: stamp(now),
            micros: lines.iter().map(|line| line.micros).sum(),
            servers_alive: alive.count() as u64,
            lines,
        }
    }
}

impl Entry {
    /// When each started hour began.
    fn hours(&self, now: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
        let millis = (self.deleted.unwrap_or(now) - self.created).num_milliseconds();
        let hours = u64::try_from(millis).unwrap_or(0).div_ceil(3_600_000).max(1);
        let created = self.created;
        (0..hours).map(move |hour| created + TimeDelta::hours(i64::try_from(hour).unwrap_or(i64::MAX)))
    }

    fn line(&self, now: DateTime<Utc>) -> Line {
        let (mut hours, mut micros) = (0, 0);
        let (mut month, mut in_month) = ((0, 0), 0);
        for start in self.hours(now) {
            if (start.year(), start.month()) != month {
                (month, in_month) = ((start.year(), start.month()), 0);
            }
            let price = self.hourly.micros().min(self.monthly.micros() - in_month);
            in_month += price;
            micros += price;
            hours += 1;
        }
        Line {
            billed: self.billed,
            project: self.project.clone(),
            id: self.id,
            name: self.name.clone(),
            server_type: self.server_type.clone(),
            location: self.location.clone(),
            labels: self.labels.clone(),
            created: stamp(self.created),
            deleted: self.deleted.map(stamp),
            hours,
            hourly_nanos: self.hourly.0,
            micros,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(created: &str, lived: TimeDelta) -> (u64, u64) {
        let created = created.parse().unwrap();
        let entry = Entry {
            billed: Billed::Server,
            project: "p".to_owned(),
            id: 1,
            name: "w".to_owned(),
            server_type: Some("cpx12".to_owned()),
            location: "fsn1".to_owned(),
            labels: Labels::new(),
            hourly: Nanos::parse("0.0184").unwrap(),
            monthly: Nanos::parse("11.49").unwrap(),
            created,
            deleted: Some(created + lived),
        };
        let line = entry.line(created + TimeDelta::days(999));
        (line.hours, line.micros)
    }

    #[test]
    fn every_started_hour_counts() {
        let at = "2026-11-23T11:15:58Z";
        assert_eq!(costs(at, TimeDelta::zero()), (1, 18_400));
        assert_eq!(costs(at, TimeDelta::minutes(60)), (1, 18_400));
        assert_eq!(costs(at, TimeDelta::milliseconds(3_600_001)), (2, 36_800));
    }

    #[test]
    fn a_month_costs_at_most_its_price() {
        // 720 hours at 0.0184 would be 13.248.
        assert_eq!(costs("2026-11-01T00:00:00Z", TimeDelta::days(30)), (720, 11_490_000));
        assert_eq!(costs("2026-11-01T00:00:00Z", TimeDelta::days(26)), (624, 624 * 18_400));
        // The next month counts anew: 720 + 1 hours.
        assert_eq!(
            costs("2026-11-01T00:00:00Z", TimeDelta::days(30) + TimeDelta::seconds(1)),
            (721, 11_508_400)
        );
    }
}
