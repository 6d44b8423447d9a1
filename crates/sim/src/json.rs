//! A run as JSON, from which anyone can compute the bill and the waits again. Times are seconds from the trace's start.

use std::fmt::Write as _;

use rgrid_core::money::Micros;

use crate::report::{Run, Summary};

/// Seconds, with their milliseconds where there are some.
fn seconds(ms: i64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn numbers(summary: &Summary) -> String {
    format!(
        "\"bill_micros\":{},\"hours\":{},\"servers\":{},\"servers_peak\":{},\"executions\":{},\"wait_p50\":{},\
         \"wait_p95\":{},\"wait_max\":{}",
        summary.bill.0,
        summary.hours,
        summary.servers,
        summary.servers_peak,
        summary.executions,
        seconds(summary.wait_p50),
        seconds(summary.wait_p95),
        seconds(summary.wait_max)
    )
}

/// The run of one policy; `others` are the policies that it was compared with. Names are policies' own and need no
/// escapes.
pub fn json(policy: &str, run: &Run, bound: Micros, others: &[(String, Summary)]) -> String {
    let mut text = String::from("{\"servers\":[");
    for (n, server) in run.servers.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(
            text,
            "{comma}\n{{\"id\":{n},\"created\":{},\"deleted\":{},\"price_micros_per_hour\":{}}}",
            seconds(server.created),
            seconds(server.deleted),
            server.price.0
        );
    }
    text.push_str("],\n\"executions\":[");
    for (n, execution) in run.executions.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(
            text,
            "{comma}\n{{\"id\":{n},\"submitted\":{},\"started\":{},\"finished\":{},\"server\":{},\"cpus\":{}}}",
            seconds(execution.submitted),
            seconds(execution.started),
            seconds(execution.finished),
            execution.server,
            seconds(i64::from(execution.cpu_millis))
        );
    }
    let _ = write!(
        text,
        "],\n\"summary\":{{\"policy\":\"{policy}\",\"work_bound_micros\":{},{},\"compared\":[",
        bound.0,
        numbers(&run.summary())
    );
    for (n, (name, summary)) in others.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\n{{\"policy\":\"{name}\",{}}}", numbers(summary));
    }
    text.push_str("]}}\n");
    text
}
