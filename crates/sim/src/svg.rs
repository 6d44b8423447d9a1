//! Pictures: servers and executions of a run over time, and a curve of bills over patience.

use std::fmt::Write as _;

use crate::report::Run;

/// Width of the drawing area.
const WIDTH: f64 = 1000.0;
/// Height of one drawing area.
const HEIGHT: f64 = 220.0;
/// Around it.
const MARGIN: f64 = 60.0;
/// Points of a line: more than there are pixels says nothing more.
const POINTS: usize = 1200;

/// How many there are over time, from intervals: the greatest number in each of `POINTS` spans.
fn levels(intervals: impl Iterator<Item = (i64, i64)>, end: i64) -> Vec<i64> {
    let mut changes: Vec<(i64, i64)> =
        intervals.filter(|(from, to)| to > from).flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
    changes.sort_unstable();
    let mut changes = changes.into_iter().peekable();
    let mut level = 0;
    (1..=POINTS)
        .map(|point| {
            let until = i128::from(end) * point as i128 / POINTS as i128;
            let mut most = level;
            while let Some((_, change)) = changes.next_if(|(at, _)| i128::from(*at) < until) {
                level += change;
                most = most.max(level);
            }
            most
        })
        .collect()
}

/// One line of a drawing, in steps.
fn steps(values: &[i64], most: i64, top: f64) -> String {
    let mut points = String::new();
    for (at, value) in values.iter().enumerate() {
        let y = top + HEIGHT * (1.0 - *value as f64 / most.max(1) as f64);
        let (from, to) =
            (MARGIN + WIDTH * at as f64 / POINTS as f64, MARGIN + WIDTH * (at + 1) as f64 / POINTS as f64);
        let _ = write!(points, "{from:.1},{y:.1} {to:.1},{y:.1} ");
    }
    points
}

fn frame(text: &mut String, title: &str, (least, most): (&str, &str), top: f64) {
    let (bottom, right) = (top + HEIGHT, MARGIN + WIDTH);
    let _ = writeln!(
        text,
        r##"<text x="{MARGIN}" y="{:.0}" font-weight="bold">{title}</text>
<path d="M{MARGIN} {top}V{bottom}H{right}" fill="none" stroke="#888"/>
<text x="{:.0}" y="{:.0}" text-anchor="end">{most}</text>
<text x="{:.0}" y="{bottom}" text-anchor="end">{least}</text>"##,
        top - 10.0,
        MARGIN - 6.0,
        top + 10.0,
        MARGIN - 6.0,
    );
}

fn line(text: &mut String, points: &str, colour: &str) {
    let _ =
        writeln!(text, r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.2"/>"#);
}

/// What a colour means.
fn legend(text: &mut String, entries: &[(&str, &str)], y: f64) {
    for (n, (name, colour)) in entries.iter().enumerate() {
        let x = MARGIN + 420.0 + 200.0 * n as f64;
        let _ = writeln!(
            text,
            r#"<path d="M{x} {:.0}h24" stroke="{colour}" stroke-width="3"/><text x="{:.0}" y="{y}">{name}</text>"#,
            y - 4.0,
            x + 30.0
        );
    }
}

fn open(height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        WIDTH + 2.0 * MARGIN
    )
}

/// Servers (paid, and with work on them) and executions (running, waiting) of a run.
pub fn timeline(title: &str, run: &Run) -> String {
    let end = run.servers.iter().map(|server| server.deleted).max().unwrap_or(1).max(1);
    let servers = levels(run.servers.iter().map(|server| (server.created, server.deleted)), end);
    let busy = levels(busy(run).into_iter(), end);
    let running = levels(run.executions.iter().map(|e| (e.started, e.finished)), end);
    let waiting = levels(run.executions.iter().map(|e| (e.submitted, e.started)), end);
    let most = |lines: [&[i64]; 2]| lines.iter().flat_map(|line| line.iter()).copied().max().unwrap_or(0);
    let (first, second) = (50.0, 50.0 + HEIGHT + 60.0);
    let mut text = open(second + HEIGHT + 50.0);
    let (servers_most, executions_most) = (most([&servers, &busy]), most([&running, &waiting]));
    frame(&mut text, &format!("{}: servers", escaped(title)), ("0", &servers_most.to_string()), first);
    legend(&mut text, &[("there and paid", "#c0392b"), ("with work", "#2980b9")], first - 10.0);
    line(&mut text, &steps(&servers, servers_most, first), "#c0392b");
    line(&mut text, &steps(&busy, servers_most, first), "#2980b9");
    frame(&mut text, "executions", ("0", &executions_most.to_string()), second);
    legend(&mut text, &[("running", "#27ae60"), ("waiting", "#e67e22")], second - 10.0);
    line(&mut text, &steps(&running, executions_most, second), "#27ae60");
    line(&mut text, &steps(&waiting, executions_most, second), "#e67e22");
    let _ = writeln!(
        text,
        r#"<text x="{:.0}" y="{:.0}" text-anchor="end">{:.1} hours</text></svg>"#,
        MARGIN + WIDTH,
        second + HEIGHT + 20.0,
        end as f64 / 3_600_000.0
    );
    text
}

/// The times in which each server had work.
fn busy(run: &Run) -> Vec<(i64, i64)> {
    let mut held: Vec<(usize, i64, i64)> =
        run.executions.iter().map(|e| (e.server, e.started, e.finished)).collect();
    held.sort_unstable();
    let mut merged: Vec<(usize, i64, i64)> = Vec::new();
    for (server, from, to) in held {
        match merged.last_mut() {
            Some(last) if last.0 == server && from <= last.2 => last.2 = last.2.max(to),
            Some(_) | None => merged.push((server, from, to)),
        }
    }
    merged.into_iter().map(|(_, from, to)| (from, to)).collect()
}

/// A curve for each name, over steps that have labels of their own.
pub fn curves(title: &str, steps: &[&str], lines: &[(String, Vec<f64>)], unit: &str) -> String {
    let values = || lines.iter().flat_map(|(_, values)| values.iter().copied());
    let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
    let (top, span) = (50.0, (most - least).max(1e-9));
    let x = |at: usize| MARGIN + WIDTH * at as f64 / (steps.len().max(2) - 1) as f64;
    let y = |value: f64| top + HEIGHT * (1.0 - (value - least) / span);
    let mut text = open(top + HEIGHT + 70.0);
    frame(&mut text, &escaped(title), (&format!("{least:.2}{unit}"), &format!("{most:.2}{unit}")), top);
    for (n, (name, values)) in lines.iter().enumerate() {
        let colour = ["#c0392b", "#2980b9", "#27ae60", "#e67e22", "#8e44ad"][n % 5];
        let points: String =
            values.iter().enumerate().map(|(at, value)| format!("{:.1},{:.1} ", x(at), y(*value))).collect();
        let _ = writeln!(
            text,
            r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/><text x="{:.0}" y="{:.0}" fill="{colour}">{}</text>"#,
            x(0) + 8.0,
            y(values.first().copied().unwrap_or(least)) - 6.0,
            escaped(name)
        );
        for (at, value) in values.iter().enumerate().skip(1) {
            let _ = writeln!(
                text,
                r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{colour}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{value:.3}{unit}</text>"#,
                x(at),
                y(*value),
                x(at) - 4.0,
                y(*value) - 8.0
            );
        }
    }
    for (at, step) in steps.iter().enumerate() {
        let _ = writeln!(
            text,
            r#"<text x="{:.0}" y="{:.0}" text-anchor="middle">{}</text>"#,
            x(at),
            top + HEIGHT + 20.0,
            escaped(step)
        );
    }
    text.push_str("</svg>\n");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
