//! Traces are read as the format has them.

use std::io::Write as _;

use rgrid_sim::trace::{self, Job};
use rgrid_sim::workload::{Shape, synthetic};

pub(crate) const SMALL: &str = include_str!("../traces/small.swf");

#[test]
fn jobs_that_never_ran_are_left_out_and_the_rest_becomes_executions() {
    let jobs = trace::read(SMALL.as_bytes()).unwrap();
    assert_eq!((jobs.len(), jobs[0].submitted), (39, 5));
    // One of 16 processors is 8 executions, those of two are two.
    let wide = jobs.iter().filter(|job| job.processors == 16).count();
    let two = jobs.iter().filter(|job| job.processors == 2).count();
    let executions = trace::executions(&jobs);
    assert_eq!((wide, executions.len()), (1, jobs.len() + 7 + two));
    assert!(executions.windows(2).all(|pair| pair[0].submitted <= pair[1].submitted));
}

#[test]
fn a_gzipped_trace_is_the_same_trace() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(SMALL.as_bytes()).unwrap();
    assert_eq!(trace::read(&packed.finish().unwrap()).unwrap(), trace::read(SMALL.as_bytes()).unwrap());
}

#[test]
fn what_is_no_trace_is_refused_by_its_line() {
    let error = |text: &str| trace::read(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(error("; nothing\n"), "the trace has no job that ran");
    assert_eq!(error(";\n1 2 3\n"), "line 2 of the trace is no job: it has fewer than 14 fields");
    let line = "1 0 -1 soon 1 -1 -1 1 -1 -1 1 1 1 1 -1 -1 -1 -1";
    assert_eq!(error(line), "line 1 of the trace is no job: its run time is no number");
    assert_eq!(trace::read(&[0x1f, 0x8b, 0, 0]).unwrap_err().to_string(), "the trace cannot be unpacked");
}

#[test]
fn what_is_written_is_read_again() {
    let jobs = synthetic(2);
    assert_eq!(trace::read(trace::write(&jobs, "of a test").as_bytes()).unwrap(), jobs);
}

/// The policy was tuned against these: a change here is a change of what it is measured by.
#[test]
fn the_twenty_synthetic_traces_are_what_they_were() {
    let line = |seed: u64| {
        let jobs = synthetic(seed);
        let mix = |sum: u64, job: &Job| {
            let Job { submitted, runs, processors, user, program } = *job;
            [submitted, runs, u64::from(processors), user.unsigned_abs(), program.unsigned_abs()]
                .iter()
                .fold(sum, |sum, part| (sum ^ part).wrapping_mul(0x0100_0000_01B3))
        };
        let digest = jobs.iter().fold(0xCBF2_9CE4_8422_2325, mix);
        let runs: u64 = jobs.iter().map(|job| job.runs).sum();
        format!(
            "{seed:>2} {:<12} {:>6} jobs, {runs:>9} s, {digest:016x}",
            Shape::of(seed).as_str(),
            jobs.len()
        )
    };
    let lines: Vec<String> = (1..=20).map(line).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
