//! The variables that the script sees: those of the person's terminal and language, and those that were named.
//! Nothing else travels.

use std::collections::BTreeMap;
use std::path::Path;

use crate::errors::{Doing, Error};
use crate::terminal::Terminal;

/// Variables that follow the person, besides `LC_*`.
const FOLLOWED: [&str; 5] = ["TERM", "COLUMNS", "LANG", "TZ", "NO_COLOR"];

/// The script's variables. Later ones win: what follows the person, then `--env-file`, then `--env`.
pub(crate) fn collect(
    env: &[String],
    env_files: &[String],
    own: &BTreeMap<String, String>,
    terminal: Terminal,
    zone: Option<String>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut variables = followed(own, terminal, zone);
    for path in env_files {
        let text = std::fs::read_to_string(path).map_err(|source| Error::File {
            doing: Doing::Read,
            path: path.into(),
            source,
        })?;
        variables.extend(parse_file(&text).map_err(|problem| Error::Option {
            option: "--env-file",
            problem: format!("{}, {problem}", crate::terminal::shown(path)),
        })?);
    }
    for wish in env {
        let (name, value) = match wish.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => match own.get(wish) {
                Some(value) => (wish.as_str(), value.clone()),
                None => {
                    return Err(Error::Option {
                        option: "--env",
                        problem: format!(
                            "{wish:?} is not set here; write --env {wish}=VALUE to give it a value"
                        ),
                    });
                }
            },
        };
        if name.is_empty() {
            return Err(Error::Option { option: "--env", problem: format!("{wish:?} names no variable") });
        }
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

fn followed(
    own: &BTreeMap<String, String>,
    terminal: Terminal,
    zone: Option<String>,
) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<_, _> = own
        .iter()
        .filter(|(name, _)| FOLLOWED.contains(&name.as_str()) || name.starts_with("LC_"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(zone) = zone {
        variables.entry("TZ".to_owned()).or_insert(zone);
    }
    if terminal.stdout {
        // A script asks its terminal for the width, and has none: the variable is its other source.
        if let Some(columns) = terminal.columns {
            variables.entry("COLUMNS".to_owned()).or_insert_with(|| columns.to_string());
        }
        if terminal.colour {
            variables.insert("FORCE_COLOR".to_owned(), "1".to_owned());
        }
    }
    variables
}

/// This machine's time zone by name, as `/etc/localtime` links to it.
pub(crate) fn zone() -> Option<String> {
    zone_of(&std::fs::read_link("/etc/localtime").ok()?)
}

fn zone_of(link: &Path) -> Option<String> {
    let text = link.to_str()?;
    text.split_once("zoneinfo/").map(|(_, name)| name.to_owned())
}

/// The own variables that are text.
pub(crate) fn own() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The person's umask, as the shell handed it on: a script's files are made with it. Reading it from the kernel changes
/// nothing; `None` where that does not tell.
pub(crate) fn umask() -> Option<u32> {
    umask_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn umask_in(status: &str) -> Option<u32> {
    let digits = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(digits.trim(), 8).ok().filter(|umask| *umask <= 0o777)
}

/// Reads `K=V` lines: `#` starts a comment line, `export ` may stand before a name, a value may be quoted whole.
pub(crate) fn parse_file(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
            return Err(format!("line {}: not of the form NAME=VALUE", index + 1));
        };
        let value = value.trim();
        let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        variables.push((name.trim().to_owned(), unquoted.unwrap_or(value).to_owned()));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> BTreeMap<String, String> {
        [
            ("PATH", "/bin"),
            ("TERM", "xterm"),
            ("LANG", "de_DE.UTF-8"),
            ("LC_ALL", "C"),
            ("API_KEY", "k"),
            ("COLUMNS", "77"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn check(env: &[&str], terminal: Terminal) -> Result<String, String> {
        let env: Vec<String> = env.iter().map(|text| (*text).to_owned()).collect();
        let variables = collect(&env, &[], &own(), terminal, Some("Europe/Berlin".to_owned()));
        variables
            .map(|all| {
                all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
            })
            .map_err(|error| error.message().what)
    }

    #[test]
    fn only_the_persons_language_and_what_is_named_travels() {
        insta::assert_snapshot!(check(&["API_KEY", "MODE=a=b"], Terminal::default()).unwrap(), @"API_KEY=k COLUMNS=77 LANG=de_DE.UTF-8 LC_ALL=C MODE=a=b TERM=xterm TZ=Europe/Berlin");
    }

    #[test]
    fn colour_is_forced_only_when_the_persons_terminal_has_it() {
        let terminal = Terminal { stdout: true, colour: true, columns: Some(120), ..Terminal::default() };
        assert!(check(&[], terminal).unwrap().contains("FORCE_COLOR=1"));
        assert!(!check(&[], Terminal { colour: false, ..terminal }).unwrap().contains("FORCE_COLOR"));
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        insta::assert_snapshot!(check(&["NO_SUCH"], Terminal::default()).unwrap_err(), @r#"--env: "NO_SUCH" is not set here; write --env NO_SUCH=VALUE to give it a value"#);
    }

    #[test]
    fn env_files_read_as_people_write_them() {
        let text = "# comment\nexport A=1\nB = \"two words\"\nC=it's\nD=\n";
        let pairs: Vec<String> = parse_file(text).unwrap().iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(pairs, ["A=1", "B=two words", "C=it's", "D="]);
        assert_eq!(parse_file("A=1\nwhat").unwrap_err(), "line 2: not of the form NAME=VALUE");
    }

    #[test]
    fn the_zone_is_what_localtime_links_to() {
        assert_eq!(
            zone_of(Path::new("../usr/share/zoneinfo/Europe/Berlin")).as_deref(),
            Some("Europe/Berlin")
        );
        assert_eq!(zone_of(Path::new("/etc/other")), None);
    }
}
