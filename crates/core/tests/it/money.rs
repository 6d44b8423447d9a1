//! Money: prices are exact, lines are rounded once, shares never come to more than their line.

use std::time::Duration;

use proptest::prelude::*;
use rgrid_core::Timestamp;
use rgrid_core::money::{
    BILLED_HOUR, Micros, Price, Rate, ServerPrice, paid_until, ran_in_hour, share, started_hours,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn rate(hour: &str, month: Option<&str>) -> Rate {
    Rate { hour: hour.parse().unwrap(), month: month.map(|month| month.parse().unwrap()) }
}

#[test]
fn a_price_is_read_to_the_last_decimal() {
    let shown = |text: &str| text.parse::<Price>().map(|price| price.to_string()).map_err(|e| e.to_string());
    let texts = [
        "0.0184000000",
        "0.000000000001",
        "7",
        "0.50",
        "18446743",
        "",
        ".5",
        "1.",
        "-1",
        "1e3",
        "1,5",
        "+1",
        "0.0000000000001",
        "99999999999",
    ];
    let lines: Vec<String> = texts.iter().map(|text| format!("{text} -> {:?}", shown(text))).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    0.0184000000 -> Ok("0.0184")
    0.000000000001 -> Ok("0.000000000001")
    7 -> Ok("7")
    0.50 -> Ok("0.5")
    18446743 -> Ok("18446743")
     -> Err("\"\" is not a price: digits, perhaps a point and up to 12 decimals")
    .5 -> Err("\".5\" is not a price: digits, perhaps a point and up to 12 decimals")
    1. -> Err("\"1.\" is not a price: digits, perhaps a point and up to 12 decimals")
    -1 -> Err("\"-1\" is not a price: digits, perhaps a point and up to 12 decimals")
    1e3 -> Err("\"1e3\" is not a price: digits, perhaps a point and up to 12 decimals")
    1,5 -> Err("\"1,5\" is not a price: digits, perhaps a point and up to 12 decimals")
    +1 -> Err("\"+1\" is not a price: digits, perhaps a point and up to 12 decimals")
    0.0000000000001 -> Err("\"0.0000000000001\" is not a price: digits, perhaps a point and up to 12 decimals")
    99999999999 -> Err("\"99999999999\" is not a price: digits, perhaps a point and up to 12 decimals")
    "#);
}

#[test]
fn a_line_is_rounded_half_up_to_micro_euros() {
    let micros = |text: &str| text.parse::<Price>().unwrap().rounded().0;
    assert_eq!(
        ["0.0184", "0.0000004999", "0.0000005", "0.0104005", "0.010400499999"].map(micros),
        [18_400, 0, 1, 10_401, 10_400]
    );
}

#[test]
fn euros_are_shown_with_cents_at_least() {
    let shown = [0, 1_500_000, 31_200, -20_000, 1].map(|micros| Micros(micros).to_string());
    assert_eq!(shown, ["EUR 0.00", "EUR 1.50", "EUR 0.0312", "EUR -0.02", "EUR 0.000001"]);
}

#[test]
fn an_hour_counts_from_its_start_and_ends_before_the_next() {
    let hours = [0, 1, 3599, 3600, 3601, 7200, 7201].map(|until| started_hours(at(0), at(until)));
    assert_eq!(hours, [1, 1, 1, 1, 2, 2, 3]);
    let edges = [0, 3599, 3600, 7199].map(|now| (paid_until(at(0), at(now)) - at(0)).num_seconds());
    assert_eq!(edges, [3600, 3600, 7200, 7200]);
}

#[test]
fn a_months_cap_is_the_most_that_its_hours_come_to() {
    let capped = rate("0.01", Some("0.035"));
    let start = at(1_434_600);
    assert_eq!(start.to_string(), "2027-01-31 22:30:00 UTC");
    let lines: Vec<i64> = capped.lines(start, start + BILLED_HOUR * 8).map(|(_, line)| line.0).collect();
    // Two hours begin in January; February's are counted from nothing.
    assert_eq!(lines, [10_000, 10_000, 10_000, 10_000, 10_000, 5_000, 0, 0]);
}

#[test]
fn an_address_is_a_line_of_its_own() {
    let price = ServerPrice { server: rate("0.0000005", None), ipv4: Some(rate("0.0000005", None)) };
    // Rounded together they would be one micro-euro.
    assert_eq!((price.hour(), price.bill(at(0), at(3601))), (Micros(2), Micros(4)));
}

proptest! {
    #[test]
    fn any_decimal_is_kept(euros in 0u64..1_000_000, picos in 0u64..1_000_000_000_000) {
        let text = format!("{euros}.{picos:012}");
        let price: Price = text.parse().unwrap();
        let shown = price.to_string();
        prop_assert_eq!(shown.parse::<Price>().unwrap(), price);
        // In other words: the same digits, without the zeros at the end.
        prop_assert_eq!(shown.as_str(), text.trim_end_matches('0').trim_end_matches('.'));
        let exact = u128::from(euros) * 1_000_000_000_000 + u128::from(picos);
        prop_assert_eq!(price.rounded().0 as u128, (exact + 500_000) / 1_000_000);
    }

    #[test]
    fn no_text_is_a_price_by_accident(text in "[0-9.eE+-]{0,24}") {
        if let Ok(price) = text.parse::<Price>() {
            prop_assert!(text.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
            prop_assert_eq!(price.to_string().parse::<Price>().unwrap(), price);
        }
    }

    #[test]
    fn a_server_is_always_paid_until_after_now_and_its_hours_reach_to_there(lived in 0i64..10_000_000) {
        let edge = paid_until(at(0), at(lived));
        prop_assert!(edge > at(lived) && edge <= at(lived) + BILLED_HOUR);
        // Deleted before the edge, it pays what was paid; a second later, another hour.
        let paid = started_hours(at(0), edge);
        prop_assert_eq!(started_hours(at(0), at(lived.max(1))).max(1), if lived % 3600 == 0 && lived > 0 { paid - 1 } else { paid });
        prop_assert_eq!(started_hours(at(0), edge + Duration::from_secs(1)), paid + 1);
    }

    #[test]
    fn a_bill_is_the_sum_of_its_lines_and_never_above_the_caps(
        picos in 0u64..100_000_000_000, cap in prop::option::of(0u32..40_000_000), lived in 0i64..8_000_000,
    ) {
        let hour: Price = format!("0.{picos:012}").parse().unwrap();
        let rate = Rate { hour, month: cap.map(Price::from_micros) };
        let lines: Vec<(Timestamp, Micros)> = rate.lines(at(0), at(lived)).collect();
        prop_assert_eq!(lines.len() as u32, started_hours(at(0), at(lived)));
        let mut months = std::collections::BTreeMap::<String, i64>::new();
        for (start, line) in &lines {
            prop_assert!(line.0 <= hour.rounded().0 && line.0 >= 0);
            *months.entry(start.format("%Y-%m").to_string()).or_default() += line.0;
        }
        for of_month in months.values() {
            prop_assert!(cap.is_none_or(|cap| *of_month <= i64::from(cap)));
        }
        let price = ServerPrice { server: rate, ipv4: None };
        prop_assert_eq!(price.bill(at(0), at(lived)), lines.iter().map(|(_, line)| *line).sum());
        if cap.is_none() {
            prop_assert_eq!(price.bill(at(0), at(lived)), hour.rounded().times(lines.len() as u64));
        }
    }

    #[test]
    fn shares_of_what_fits_never_come_to_more_than_the_line(
        line in 0i64..10_000_000,
        cores in 1u32..64,
        attempts in prop::collection::vec((1u32..8_000, 0i64..7200, 0i64..7200), 0..20),
    ) {
        // As many as fit on the server at once, each in the hour from 1800 to 5400.
        let mut left = cores * 1000;
        let mut sum = Micros::ZERO;
        for (cpu_millis, start, length) in attempts {
            if cpu_millis > left {
                continue;
            }
            left -= cpu_millis;
            let ran = ran_in_hour(at(1800), at(start), at(start + length));
            prop_assert!(ran <= BILLED_HOUR);
            let part = share(Micros(line), cpu_millis, ran, cores);
            // Rounded down: less than one micro-euro is lost.
            let exact = line as f64 * f64::from(cpu_millis) * ran.as_millis() as f64
                / (f64::from(cores) * 1000.0 * 3_600_000.0);
            prop_assert!((part.0 as f64) <= exact + 1e-6 && part.0 as f64 > exact - 1.0 - 1e-6);
            sum = sum + part;
        }
        prop_assert!(sum.0 <= line);
        prop_assert_eq!(share(Micros(line), cores * 1000, BILLED_HOUR, cores), Micros(line));
    }
}
