//! Files that people and programs write for us: settings, variables, credentials, pages of indexes and object stores.

use std::fs;

use rgrid_cli::GridAddress;
use rgrid_cli::fuzzing as cli;
use rgrid_store::fuzzing as store;

use crate::input::Input;

/// What must never be told.
const SECRET: &str = "never-to-be-told-0123456789";
/// Names of settings that are secrets.
const SECRETS: [&str; 4] = ["url", "access_key", "secret_key", "api_token"];
/// What lets money be spent.
const YES: [&str; 4] = ["true", "1", "yes", "on"];

/// After its letter the input is such a file.
pub fn settings(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() {
        b'e' => variables(&input.text()),
        b'c' => credentials(input),
        b't' => toml(input),
        b'p' => {
            let index = rgrid::fuzzing::pip_index(&input.text());
            assert!(index.is_none_or(|index| !index.trim().is_empty()));
        }
        b'x' => {
            let text = input.text();
            if let Some((parts, next)) = store::parts(&text) {
                assert!(parts.is_sorted_by(|a, b| a < b), "each once");
                assert!(next.is_none() || text.contains("true"));
            }
        }
        _ => {
            let file = input.text_line();
            let page = input.text();
            let link = rgrid::fuzzing::link(&page, &file);
            assert!(link.is_none() || page.contains(&*file) || page.contains('\\'));
        }
    }
}

/// What is read can be written so that it reads back.
fn variables(text: &str) {
    let Ok(pairs) = cli::env_file(text) else { return };
    assert!(pairs.iter().all(|(name, _)| !name.is_empty() && name.trim() == name && !name.contains('=')));
    let written: String =
        pairs.iter().map(|(name, value)| format!("export {name} = \"{value}\"\n")).collect();
    assert_eq!(cli::env_file(&written), Ok(pairs));
}

/// A line is the key to keep, the rest a file of credentials: the others in it stay what they were.
fn credentials(mut input: Input<'_>) {
    let key = input.text_line().trim().to_owned();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("credentials");
    fs::write(&path, input.rest()).expect("a file can be written");
    let Some(profiles) = cli::profiles(&path) else { return };
    let before: Vec<_> = profiles.iter().map(|name| cli::profile(&path, name)).collect();
    let address = GridAddress { url: "https://grid.example".to_owned(), key };
    if address.key.is_empty() || !cli::keep_profile(&path, "kept", &address) {
        return;
    }
    assert_eq!(cli::profile(&path, "kept"), Some(address));
    for (name, before) in profiles.iter().zip(before).filter(|(name, _)| *name != "kept") {
        assert_eq!(cli::profile(&path, name), before, "of {name:?}");
    }
}

/// A line is a variable and its value, the rest a settings file. Money is spent on an exact yes, and no secret is told.
fn toml(mut input: Input<'_>) {
    let line = input.text_line();
    let (variable, value) = line.split_once('=').unwrap_or((&line, ""));
    let text = input.text();
    let file = text.replace('@', SECRET);
    let told = match rgrid::fuzzing::settings(&file, variable, value) {
        Ok((told, spending)) => {
            assert!(!spending || YES.iter().any(|yes| file.contains(yes) || value.contains(yes)));
            told
        }
        Err(told) => told,
    };
    // What does not stand in the place of a secret is none.
    let is_secret = |line: &str| line.split_once('=').is_some_and(|(name, _)| SECRETS.contains(&name.trim()));
    if text.lines().all(|line| !line.contains('@') || is_secret(line)) {
        assert!(!told.contains(SECRET), "{told}");
    }
}
