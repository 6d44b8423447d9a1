//! Amounts as people write them: `512M`, `1.5`, `1h30m`. One parser and one printer each.

use std::time::Duration;

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct QuantityError {
    text: String,
    expected: &'static str,
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// Reads bytes: `300` (bytes), `64K`, `512M`, `3G`, `1T`, with an optional `B` or `iB`; always powers of 1,024. A part
/// of a byte counts as one, so that 1.1G is shown as 1.1G and not as 1G.
pub fn parse_bytes(text: &str) -> Result<u64, QuantityError> {
    let error = || QuantityError { text: text.to_owned(), expected: "a size such as 512M or 3G" };
    let (number, unit) = split_unit(text.trim());
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(error()),
    };
    let number: f64 = number.parse().map_err(|_| error())?;
    let bytes = number * (1u64 << shift) as f64;
    // 2^63: what PostgreSQL's bigint, and any disk, can hold.
    if !(1.0..9.2e18).contains(&bytes) { Err(error()) } else { Ok(bytes.ceil() as u64) }
}

/// Writes bytes shortly, as `parse_bytes` reads them: `1.5G`, `64K`, `300`.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    for (unit, size) in UNITS {
        if bytes >= size {
            let tenths = (bytes as u128 * 10 / size as u128) as u64;
            return if tenths.is_multiple_of(10) || tenths >= 1000 {
                format!("{}{unit}", tenths / 10)
            } else {
                format!("{}.{}{unit}", tenths / 10, tenths % 10)
            };
        }
    }
    bytes.to_string()
}

/// Reads cores: `2`, `0.5`, `500m`; answers thousandths of a core, at least 1.
pub fn parse_cpu(text: &str) -> Result<u32, QuantityError> {
    let error =
        || QuantityError { text: text.to_owned(), expected: "a number of CPUs such as 2, 0.5 or 500m" };
    let (number, unit) = split_unit(text.trim());
    let number: f64 = number.parse().map_err(|_| error())?;
    let millis = match unit {
        "" => number * 1000.0,
        "m" => number,
        _ => return Err(error()),
    };
    if !(1.0..=1_000_000.0).contains(&millis) { Err(error()) } else { Ok(millis.round() as u32) }
}

/// Writes cores as `parse_cpu` reads them: `2`, `0.5`.
pub fn format_cpu(millis: u32) -> String {
    (f64::from(millis) / 1000.0).to_string()
}

/// Reads a length of time: `90` (seconds), `1.5s`, `250ms`, `10m`, `1h30m`, `2d`.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let error = || QuantityError { text: text.to_owned(), expected: "a time such as 90, 10m or 1h30m" };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(error());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let (number, after) = split_unit(rest);
        let number: f64 = number.parse().map_err(|_| error())?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            "" if next.is_empty() && rest.len() == text.trim().len() => 1.0,
            _ => return Err(error()),
        };
        seconds += number * factor;
        rest = next;
    }
    // Ten years: anything longer is a slip of the finger.
    if !(0.0..=3.2e8).contains(&seconds) {
        return Err(error());
    }
    Ok(Duration::from_millis((seconds * 1000.0).round() as u64))
}

/// Writes a length of time shortly: `1h30m`, `10s`, `1.5s`, `250ms`.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return format!("{millis}ms");
    }
    if millis < 60_000 {
        let tenths = millis / 100;
        return if tenths.is_multiple_of(10) {
            format!("{}s", tenths / 10)
        } else {
            format!("{}.{}s", tenths / 10, tenths % 10)
        };
    }
    let seconds = duration.as_secs();
    [(seconds / 86400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")]
        .into_iter()
        .filter(|(amount, _)| *amount > 0)
        .take(2)
        .map(|(amount, unit)| format!("{amount}{unit}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!(parse_bytes("3G"), Ok(3 << 30));
        assert_eq!(parse_bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("300"), Ok(300));
        for bad in ["", "G", "-1", "0", "3X", "1e5", "nan", "99999999T"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(format_bytes(3 << 29), "1.5G");
        assert_eq!(format_bytes(999), "999");
        for typed in ["1.1G", "2.3T", "99.9K", "1023M"] {
            assert_eq!(format_bytes(parse_bytes(typed).unwrap()), typed);
        }
    }

    #[test]
    fn times_read_as_people_write_them() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "h", "1h30", "5 minutes", "-3", "99999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(format_duration(Duration::from_secs(5400)), "1h30m");
        assert_eq!(format_duration(Duration::from_millis(1500)), "1.5s");
    }

    #[test]
    fn cpus_read_as_people_write_them() {
        assert_eq!(parse_cpu("0.5"), Ok(500));
        assert_eq!(parse_cpu("500m"), Ok(500));
        assert_eq!((format_cpu(500), format_cpu(2000)), ("0.5".to_owned(), "2".to_owned()));
        assert_eq!(parse_cpu("0.57"), Ok(570));
        assert!(parse_cpu("0").is_err() && parse_cpu("2x").is_err());
    }
}
