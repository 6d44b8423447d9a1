//! The table of guards: each is switched off, and its test must fail; with it on, its test must pass. How a guard is
//! switched off is known by the crates; here they are only told its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo, output, root, run};

/// The crates' switch: the name of the guard that is off.
const SWITCH: &str = "GUARD_OFF";
/// The feature under which a crate knows the switch.
const FEATURE: &str = "guards-off";
/// A guard against a race may hold by luck: its test is tried this often with the guard off.
const TRIES: u32 = 5;
/// Where a full run is written down.
const LOG: &str = "docs/guards.log";

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Guard {
    name: String,
    rule: String,
    package: String,
    /// `it`, the crate's integration tests, or `lib`, the tests in its code.
    target: String,
    test: String,
    says: String,
}

/// Tries the guards of these names, or all of them; a run of all is written down.
pub(super) fn soak(names: &[String]) -> Result<()> {
    let table = read(&std::fs::read_to_string(root().join("guards.toml"))?)?;
    if let Some(unknown) = names.iter().find(|name| !table.iter().any(|guard| guard.name == **name)) {
        bail!("guards.toml has no guard {unknown}");
    }
    let started = Instant::now();
    let mut lines = Vec::new();
    let mut broken = Vec::new();
    for ((package, target), guards) in by_binary(&table) {
        let all_on: BTreeSet<&str> = chosen(&guards, names).map(|guard| guard.test.as_str()).collect();
        if all_on.is_empty() {
            continue;
        }
        let binary = build(package, target)?;
        eprintln!("{package}: {} tests with all guards on", all_on.len());
        run(test(&binary, package, None).args(&all_on))?;
        for guard in chosen(&guards, names) {
            let (line, held) = try_without(&binary, guard)?;
            println!("{line}");
            lines.push(line);
            if !held {
                broken.push(guard.name.clone());
            }
        }
    }
    let seconds = started.elapsed().as_secs();
    let tried = lines.len();
    let verdict = format!("{tried} guards, {} without a test that fails, {seconds} s", broken.len());
    println!("{verdict}");
    if names.is_empty() {
        let date = output(Command::new("date").args(["-u", "+%F %H:%M UTC"]))?;
        let mut log = format!("cargo xtask soak --guards, {}\n{verdict}\n\n", date.trim());
        for line in lines {
            writeln!(log, "{line}")?;
        }
        std::fs::write(root().join(LOG), log)?;
    }
    ensure!(broken.is_empty(), "no test fails without: {}", broken.join(", "));
    Ok(())
}

/// Runs the guard's test without it; false when the test passed every time.
fn try_without(binary: &str, guard: &Guard) -> Result<(String, bool)> {
    let started = Instant::now();
    for tries in 1..=TRIES {
        let mut command = test(binary, &guard.package, Some(&guard.name));
        let result = command.arg(&guard.test).output().context("start a test")?;
        let said = String::from_utf8_lossy(&result.stdout);
        ensure!(said.contains("running 1 test"), "{}: there is no test {}", guard.name, guard.test);
        if said.contains("test result: FAILED. 0 passed; 1 failed") {
            let seconds = started.elapsed().as_secs_f32();
            let times = if tries == 1 { String::new() } else { format!(" at try {tries}") };
            return Ok((
                format!(
                    "{:<28} {:<7} off: fails{times} in {seconds:.1} s, on: passes; {}",
                    guard.name, guard.rule, guard.test
                ),
                true,
            ));
        }
        ensure!(result.status.success(), "{}: the test ended without a verdict: {said}", guard.name);
    }
    Ok((format!("{:<28} {:<7} off: PASSES {TRIES} times; {}", guard.name, guard.rule, guard.test), false))
}

fn by_binary(table: &[Guard]) -> BTreeMap<(&str, &str), Vec<&Guard>> {
    let mut binaries: BTreeMap<(&str, &str), Vec<&Guard>> = BTreeMap::new();
    for guard in table {
        binaries.entry((&guard.package, &guard.target)).or_default().push(guard);
    }
    binaries
}

fn chosen<'a>(guards: &'a [&'a Guard], names: &'a [String]) -> impl Iterator<Item = &'a Guard> {
    guards.iter().copied().filter(|guard| names.is_empty() || names.contains(&guard.name))
}

/// Builds the tests of a package with the switch and answers their binary.
fn build(package: &str, target: &str) -> Result<String> {
    let kind = if target == "lib" { "--lib" } else { "--test=it" };
    let said = output(cargo().args([
        "test",
        "--locked",
        "--no-run",
        "--message-format=json",
        kind,
        "--features",
        FEATURE,
        "--package",
        package,
    ]))?;
    let built = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let binaries = built.filter(|message| message["profile"]["test"] == true);
    let path = binaries.filter_map(|message| Some(message["executable"].as_str()?.to_owned())).next_back();
    path.with_context(|| format!("cargo built no tests of {package}"))
}

/// The test binary, in its crate's folder, with a guard off or with all on.
fn test(binary: &str, package: &str, off: Option<&str>) -> Command {
    let mut command = Command::new(binary);
    command.current_dir(root().join(folder(package))).arg("--exact").env_remove(SWITCH);
    if let Some(name) = off {
        // What fails by intention is not remembered as a failure.
        command.env(SWITCH, name).env("RGRID_RANDOM_FORGET", "1").env("INSTA_UPDATE", "no");
    }
    command
}

fn folder(package: &str) -> String {
    format!("crates/{}", package.strip_prefix("rgrid-").unwrap_or(package))
}

fn read(text: &str) -> Result<Vec<Guard>> {
    let table: toml::Table = text.parse().context("read guards.toml")?;
    let rows = table.get("guard").and_then(toml::Value::as_array).context("guards.toml holds no guard")?;
    rows.iter().map(row).collect()
}

fn row(row: &toml::Value) -> Result<Guard> {
    let text = |key: &str| -> Result<String> {
        let value = row.get(key).and_then(toml::Value::as_str);
        Ok(value.with_context(|| format!("guards.toml: {row:?} has no {key}"))?.to_owned())
    };
    Ok(Guard {
        name: text("name")?,
        rule: text("rule")?,
        package: text("crate")?,
        target: row.get("target").and_then(toml::Value::as_str).unwrap_or("it").to_owned(),
        test: text("test")?,
        says: text("says")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<Guard> {
        read(&std::fs::read_to_string(root().join("guards.toml")).unwrap()).unwrap()
    }

    fn source(guard: &Guard, path: &str) -> String {
        let file = root().join(folder(&guard.package)).join(path);
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    #[test]
    fn every_guard_has_a_name_of_its_own_and_says_what_it_is_for() {
        let table = table();
        let names: BTreeSet<&str> = table.iter().map(|guard| guard.name.as_str()).collect();
        assert_eq!(names.len(), table.len());
        assert!(table.iter().all(|guard| guard.rule.starts_with(['D', 'S']) && !guard.says.is_empty()));
    }

    #[test]
    fn every_guard_of_the_table_is_in_the_code_and_the_other_way() {
        let table = table();
        let packages: BTreeSet<&str> = table.iter().map(|guard| guard.package.as_str()).collect();
        for package in packages {
            let guards: Vec<&Guard> = table.iter().filter(|guard| guard.package == package).collect();
            let code = source(guards[0], "src/guards.rs");
            let made = code.split("guard(").skip(1).filter_map(|after| after.trim_start().strip_prefix('"'));
            let made: BTreeSet<&str> = made.filter_map(|after| after.split('"').next()).collect();
            let named: BTreeSet<&str> = guards.iter().map(|guard| guard.name.as_str()).collect();
            assert_eq!(made, named);
        }
    }

    #[test]
    fn every_test_of_the_table_is_there() {
        for guard in table() {
            let (module, name) = guard.test.rsplit_once("::").unwrap();
            let file = match guard.target == "lib" {
                // Beside what they test, in a module of that.
                true => match module.strip_suffix("::tests") {
                    Some(module) => format!("src/{}.rs", module.replace("::", "/")),
                    None => "src/lib.rs".to_owned(),
                },
                false => format!("tests/it/{}.rs", module.replace("::", "/")),
            };
            let tests = source(&guard, &file);
            assert!(tests.contains(&format!("fn {name}()")), "{}: no test {}", guard.name, guard.test);
        }
    }
}
