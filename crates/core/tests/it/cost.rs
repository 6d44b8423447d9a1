//! Whose the hours of servers were.

use proptest::prelude::*;
use rgrid_core::Timestamp;
use rgrid_core::cost::{Line, Used, split};
use rgrid_core::id::IntentId;
use rgrid_core::money::{Micros, share};

fn at(second: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn server(n: u8) -> IntentId {
    IntentId::new(1, [n; 10])
}

fn line(n: u8, hour: i64, micros: i64) -> Line {
    Line { server: server(n), hour_start: at(hour * 3600), amount: Micros(micros), cpu_millis: 2000 }
}

fn used(n: u8, cpu_millis: u32, from: i64, to: i64) -> Used {
    Used { server: server(n), cpu_millis, from: at(from), to: at(to) }
}

#[test]
fn an_attempt_pays_for_what_it_asked_for_while_it_ran_and_the_rest_is_idle() {
    // Half of a server of two cores for half an hour, then into the next hour; a lost attempt pays like any other.
    let lines = [line(1, 0, 31_200), line(1, 0, 800), line(1, 1, 31_200), line(2, 0, 1001)];
    let split =
        split(&lines, &[used(1, 1000, 1800, 5400), used(1, 1000, 3600, 3600 + 900), used(2, 667, 0, 3600)]);
    assert_eq!(split.shares, [Micros(7_800 + 200 + 7_800), Micros(3_900), Micros(333)]);
    assert_eq!(split.idle, Micros(64_201 - 15_800 - 3_900 - 333));
}

#[test]
fn where_more_was_asked_for_than_there_is_it_is_shared_in_that_proportion() {
    let split = split(&[line(1, 0, 900)], &[used(1, 2000, 0, 3600), used(1, 1000, 0, 3600)]);
    assert_eq!((split.shares, split.idle), (vec![Micros(600), Micros(300)], Micros::ZERO));
}

#[test]
fn what_ran_before_a_server_was_there_or_on_another_pays_nothing_of_it() {
    let split = split(&[line(1, 1, 900)], &[used(1, 2000, 0, 3600), used(2, 2000, 3600, 7200)]);
    assert_eq!((split.shares, split.idle), (vec![Micros::ZERO; 2], Micros(900)));
}

proptest! {
    #[test]
    fn shares_and_what_was_idle_come_to_the_ledger_to_the_micro_euro(
        lines in prop::collection::vec((0u8..4, 0i64..6, 0i64..5_000_000), 0..24),
        ran in prop::collection::vec((0u8..5, 0u32..4000, 0i64..20_000, 0i64..9_000), 0..40),
    ) {
        let lines: Vec<Line> = lines.into_iter().map(|(n, hour, micros)| line(n, hour, micros)).collect();
        let ran: Vec<Used> = ran.into_iter().map(|(n, cpu, from, length)| used(n, cpu, from, from + length)).collect();
        let whole = split(&lines, &ran);
        prop_assert_eq!(whole.shares.len(), ran.len());
        prop_assert!(whole.idle.0 >= 0 && whole.shares.iter().all(|share| share.0 >= 0));
        let ledger: Micros = lines.iter().map(|line| line.amount).sum();
        prop_assert_eq!(whole.shares.iter().copied().sum::<Micros>() + whole.idle, ledger);
        // Line by line: an attempt alone on its server pays exactly what SEMANTICS says.
        for line in &lines {
            for used in ran.iter().filter(|used| used.cpu_millis <= line.cpu_millis) {
                let alone = split(&[*line], &[*used]);
                let in_hour = rgrid_core::money::ran_in_hour(line.hour_start, used.from, used.to);
                let expected = if used.server == line.server { share(line.amount, used.cpu_millis, in_hour, 2) } else { Micros::ZERO };
                prop_assert_eq!(alone.shares[0], expected);
            }
        }
    }
}
