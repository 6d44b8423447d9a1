//! Money: decimal prices as providers write them, exact; the hours that are billed; an attempt's share of one
//! (SEMANTICS section 10). All amounts are net euros. Nothing here is a floating-point number.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::str::FromStr;
use std::time::Duration;

use crate::Timestamp;

/// What is billed at a time: a started hour of a server's existence.
pub const BILLED_HOUR: Duration = Duration::from_secs(3600);
/// Picoeuros in one micro-euro.
const PICOS_PER_MICRO: u64 = 1_000_000;
/// Digits after the point that a price may have.
const PRICE_DECIMALS: usize = 12;

/// An amount in micro-euros, as ledgers hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// What is left of it when `other` is taken away; nothing, when that is more.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).max(0))
    }

    /// So many times this.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)))
    }
}

impl Add for Micros {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Micros {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, whole) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let text = format!("{}.{:06}", whole / 1_000_000, whole % 1_000_000);
        // Cents always; finer digits only where they say something.
        let shortest = text.len() - 4;
        let kept = text.trim_end_matches('0').len().max(shortest);
        write!(f, "EUR {sign}{}", &text[..kept])
    }
}

/// A price in picoeuros: every decimal that a provider writes, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Price(u64);

/// Why a text is not a price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a price: digits, perhaps a point and up to 12 decimals")]
pub struct ParsePriceError(pub String);

impl Price {
    /// In whole micro-euros.
    pub fn from_micros(micros: u32) -> Self {
        Self(u64::from(micros) * PICOS_PER_MICRO)
    }

    /// Rounded half-up to micro-euros: once, for each line of the ledger.
    pub fn rounded(self) -> Micros {
        Micros(((self.0 + PICOS_PER_MICRO / 2) / PICOS_PER_MICRO).cast_signed())
    }
}

impl FromStr for Price {
    type Err = ParsePriceError;

    fn from_str(text: &str) -> Result<Self, ParsePriceError> {
        let refused = || ParsePriceError(text.to_owned());
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let decimals = decimals.trim_end_matches('0');
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let complete = !whole.is_empty() && !text.ends_with('.') && digits(whole) && digits(decimals);
        if !complete || decimals.len() > PRICE_DECIMALS {
            return Err(refused());
        }
        let euros: u64 = whole.parse().map_err(|_| refused())?;
        let picos: u64 = format!("{decimals:0<PRICE_DECIMALS$}").parse().map_err(|_| refused())?;
        let all = euros.checked_mul(10u64.pow(PRICE_DECIMALS as u32)).and_then(|e| e.checked_add(picos));
        // What rounds must not overflow.
        all.filter(|all| *all < u64::MAX - PICOS_PER_MICRO).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = 10u64.pow(PRICE_DECIMALS as u32);
        let text = format!("{}.{:0PRICE_DECIMALS$}", self.0 / one, self.0 % one);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// What an hour of something costs, and the most that a calendar month of it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rate {
    /// A started hour.
    pub hour: Price,
    /// A calendar month (UTC) at most; `None` when the provider has no such cap.
    pub month: Option<Price>,
}

impl Rate {
    /// The line of one started hour, when the lines before it in its calendar month come to `before`.
    pub fn line(&self, before: Micros) -> Micros {
        let hour = self.hour.rounded();
        self.month.map_or(hour, |cap| hour.min(cap.rounded().less(before)))
    }

    /// All lines of something that exists from `created` to `until`: the hour's start and its amount.
    pub fn lines(&self, created: Timestamp, until: Timestamp) -> impl Iterator<Item = (Timestamp, Micros)> {
        let mut month = None;
        let mut before = Micros::ZERO;
        (0..started_hours(created, until)).map(move |hour| {
            let start = created + BILLED_HOUR * hour;
            let of = start.format("%Y-%m").to_string();
            if month.as_ref() != Some(&of) {
                month = Some(of);
                before = Micros::ZERO;
            }
            let line = self.line(before);
            before = before + line;
            (start, line)
        })
    }
}

/// What a server costs, as captured when it was created: later prices do not matter to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ServerPrice {
    /// The server.
    pub server: Rate,
    /// Its public IPv4 address, a line of its own; `None` when it has none.
    pub ipv4: Option<Rate>,
}

impl ServerPrice {
    /// A started hour of all of it, as long as no month's cap is reached.
    pub fn hour(&self) -> Micros {
        self.server.hour.rounded() + self.ipv4.map_or(Micros::ZERO, |rate| rate.hour.rounded())
    }

    /// All that is billed for an existence from `created` to `until`.
    pub fn bill(&self, created: Timestamp, until: Timestamp) -> Micros {
        let of = |rate: &Rate| rate.lines(created, until).map(|(_, line)| line).sum();
        of(&self.server) + self.ipv4.as_ref().map_or(Micros::ZERO, of)
    }
}

/// Hours that are billed of an existence from `created` to `until`: at least one. An hour that ends at `until` exactly
/// is the last.
pub fn started_hours(created: Timestamp, until: Timestamp) -> u32 {
    let lived = (until - created).to_std().unwrap_or_default();
    let whole = lived.as_secs() / BILLED_HOUR.as_secs();
    let rest = lived > Duration::from_secs(whole * BILLED_HOUR.as_secs());
    u32::try_from(whole + u64::from(rest)).unwrap_or(u32::MAX).max(1)
}

/// Until when an existence from `created` is paid at `now`: the next hour's edge, after `now`. At an edge the next
/// hour has begun, since whoever still exists then pays it.
pub fn paid_until(created: Timestamp, now: Timestamp) -> Timestamp {
    let lived = (now - created).to_std().unwrap_or_default();
    let hours = u32::try_from(lived.as_secs() / BILLED_HOUR.as_secs()).unwrap_or(u32::MAX - 1);
    created + BILLED_HOUR * (hours + 1)
}

/// An attempt's share of a line: what it asked for, for as long as it ran in that hour, of all that the server's
/// cores could do in it; rounded down, the rest is idle.
pub fn share(line: Micros, cpu_millis: u32, ran_in_hour: Duration, server_cores: u32) -> Micros {
    let asked = u128::from(cpu_millis) * ran_in_hour.min(BILLED_HOUR).as_millis();
    part(line, asked, u128::from(server_cores.max(1)) * 1000 * BILLED_HOUR.as_millis())
}

/// So much of a line as `asked` is of `whole`, rounded down.
pub fn part(line: Micros, asked: u128, whole: u128) -> Micros {
    let part = u128::from(line.0.max(0).unsigned_abs()) * asked.min(whole) / whole.max(1);
    Micros(i64::try_from(part).unwrap_or(i64::MAX))
}

/// How long an attempt that ran from `start` to `end` ran in the hour that began at `hour`.
pub fn ran_in_hour(hour: Timestamp, start: Timestamp, end: Timestamp) -> Duration {
    let from = start.max(hour);
    let to = end.min(hour + BILLED_HOUR);
    (to - from).to_std().unwrap_or_default()
}
