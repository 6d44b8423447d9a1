//! Whose the hours of servers were: an attempt's share of each line of the ledger, and what nobody used (SEMANTICS
//! section 10).

use std::collections::BTreeMap;

use crate::Timestamp;
use crate::id::IntentId;
use crate::money::{BILLED_HOUR, Micros, part, ran_in_hour};

/// A line of the ledger: a started hour of a server, or of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The order behind the server.
    pub server: IntentId,
    /// When the hour began, by the provider's clock.
    pub hour_start: Timestamp,
    /// What it cost.
    pub amount: Micros,
    /// All that the server has, in thousandths of a core.
    pub cpu_millis: u32,
}

/// An attempt that held a part of a server, lost ones too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The order behind the server.
    pub server: IntentId,
    /// What it asked for, in thousandths of a core.
    pub cpu_millis: u32,
    /// Since when it held it, by the provider's clock.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

/// Who pays the lines: their sum, to the micro-euro, is all shares and what was idle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What each attempt comes to, in the order in which they were given.
    pub shares: Vec<Micros>,
    /// What nobody is charged for.
    pub idle: Micros,
}

/// Splits each line among the attempts that ran in its hour: by the thousandths of a core that they asked for and the
/// milliseconds that they had them, of all that the server has in an hour; rounded down, the rest is idle. Where more was
/// asked for than there is, because some asked for nothing in particular, they share the whole.
pub fn split(lines: &[Line], attempts: &[Used]) -> Split {
    let mut of_server: BTreeMap<IntentId, Vec<usize>> = BTreeMap::new();
    for (at, used) in attempts.iter().enumerate() {
        of_server.entry(used.server).or_default().push(at);
    }
    let mut shares = vec![Micros::ZERO; attempts.len()];
    let mut idle = Micros::ZERO;
    for line in lines {
        let asked = |at: usize| {
            let used = &attempts[at];
            u128::from(used.cpu_millis) * ran_in_hour(line.hour_start, used.from, used.to).as_millis()
        };
        let there = of_server.get(&line.server).map(Vec::as_slice).unwrap_or_default();
        let parts: Vec<(usize, u128)> =
            there.iter().map(|at| (*at, asked(*at))).filter(|(_, asked)| *asked > 0).collect();
        let all: u128 = parts.iter().map(|(_, asked)| asked).sum();
        let whole = (u128::from(line.cpu_millis) * BILLED_HOUR.as_millis()).max(all);
        let mut charged = Micros::ZERO;
        for (at, asked) in parts {
            let share = part(line.amount, asked, whole);
            shares[at] = shares[at] + share;
            charged = charged + share;
        }
        idle = idle + line.amount.less(charged);
    }
    Split { shares, idle }
}
