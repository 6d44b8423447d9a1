//! Amounts of money, exactly: prices in billionths of a euro, because the API gives ten decimals; bills in millionths.

use serde::{Deserialize, Serialize};

/// The rate that turns net prices into gross ones, in percent.
pub(crate) const VAT_PERCENT: u64 = 19;

/// A net price in billionths of a euro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Nanos(pub(crate) u64);

impl Nanos {
    /// In millionths of a euro, a half rounded up.
    pub(crate) fn micros(self) -> u64 {
        (self.0 + 500) / 1000
    }

    /// As the API spells it: `"0.0184000000"`.
    fn decimal(self) -> String {
        format!("{}.{:09}0", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }

    /// `{"net": "...", "gross": "..."}`.
    pub(crate) fn price(self) -> serde_json::Value {
        let gross = Self(self.0 * (100 + VAT_PERCENT) / 100);
        serde_json::json!({"net": self.decimal(), "gross": gross.decimal()})
    }

    /// Reads `"0.0184"`; at most nine decimals.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let part = part.trim_end_matches('0');
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || part.len() > 9 || !digits(whole) || !digits(part) {
            return None;
        }
        let whole: u64 = whole.parse().ok()?;
        let part: u64 = format!("{part:0<9}").parse().ok()?;
        whole.checked_mul(1_000_000_000)?.checked_add(part).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_reads_as_it_is_spelled() {
        let price = Nanos::parse("0.0184").unwrap();
        assert_eq!((price.0, price.micros()), (18_400_000, 18_400));
        assert_eq!(price.price(), serde_json::json!({"net": "0.0184000000", "gross": "0.0218960000"}));
        assert_eq!(Nanos::parse("11.4900000000"), Some(Nanos(11_490_000_000)));
        assert_eq!((Nanos::parse("1.0000000001"), Nanos::parse(""), Nanos::parse("-1")), (None, None, None));
        assert_eq!(Nanos(1_500).micros(), 2);
    }
}
