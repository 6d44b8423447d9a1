//! The roles of a server grid, from its own host.

use std::process::Command;

use crate::grid::text;

fn rgrid(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rgrid"));
    command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

#[tokio::test]
async fn a_new_grid_is_migrated_and_gets_its_first_key() {
    let database = rgrid_store::testing::empty_database().await;
    let on_database = |args: &[&str]| {
        let mut command = rgrid(args);
        // As a Python deployment spells it, with a comment that systemd does not cut.
        let url = database.url.replacen("postgres://", "postgresql+asyncpg://", 1);
        command.env("DATABASE_URL", format!("{url}  # the grid's"));
        command.env("RGRID_OBJECTS_FOLDER", database.folder().join("objects"));
        command.env("RGRID_VAULT_KEY_FILE", database.folder().join("vault.key"));
        command.output().unwrap()
    };
    let early = on_database(&["admin", "key"]);
    assert!(text(&early.stderr).contains("the database needs `rgrid migrate`"), "{}", text(&early.stderr));

    let migrated = on_database(&["migrate"]);
    assert!(migrated.status.success(), "{}", text(&migrated.stderr));
    assert!(text(&migrated.stderr).contains("applied to the database: 1"), "{}", text(&migrated.stderr));
    assert!(
        text(&migrated.stderr).contains("warning: DATABASE_URL: the comment"),
        "{}",
        text(&migrated.stderr)
    );
    assert!(text(&on_database(&["migrate"]).stderr).contains("the database was up to date"));

    let key = on_database(&["admin", "key", "first"]);
    let secret = text(&key.stdout).trim().to_owned();
    let principal = database.store().authenticate(&secret).await.unwrap().unwrap();
    assert_eq!((principal.account_name.as_str(), principal.key.name.as_str()), ("default", "first"));

    on_database(&["admin", "accounts", "--create", "team"]);
    let accounts = text(&on_database(&["admin", "accounts"]).stdout);
    assert!(accounts.contains("default") && accounts.contains("team"), "{accounts}");
    let unknown = text(&on_database(&["admin", "key", "--account", "nobody"]).stderr);
    assert!(unknown.contains("rgrid admin accounts --create nobody"), "{unknown}");
}

#[test]
fn settings_show_where_each_value_comes_from_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rgrid.toml");
    std::fs::write(&file, "[api]\nport = 9000\nhost = \"0.0.0.0\"\n").unwrap();
    let output = rgrid(&["admin", "--config", file.to_str().unwrap(), "settings"])
        .env("API_PORT", "9001  # for staging")
        .env("DATABASE_URL", "postgresql+asyncpg://user:hunter2@localhost/db")
        .output()
        .unwrap();
    let shown = text(&output.stdout).replace(folder.path().to_str().unwrap(), "/etc");
    assert!(!shown.contains("hunter2"));
    let shown: Vec<&str> =
        shown.lines().filter(|line| line.starts_with("api.") || line.starts_with("database.")).collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    database.url = (secret)  # DATABASE_URL
    database.connections = "10"  # default
    api.host = "0.0.0.0"  # /etc/rgrid.toml
    api.port = "9001"  # API_PORT
    api.public_url is not set  # RGRID_PUBLIC_URL
    api.allowed_origins = ""  # default
    "#);
}

#[test]
fn a_role_without_its_settings_names_the_one_that_is_missing() {
    let output = rgrid(&["api"]).output().unwrap();
    assert!(!output.status.success());
    insta::assert_snapshot!(text(&output.stderr), @"error: database.url has no value: set DATABASE_URL, or database.url in a settings file");
}

#[test]
fn a_runner_that_nobody_gives_a_token_leaves_when_its_input_ends() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("worker");
    let args = ["runner", "--api-url", "http://127.0.0.1:9", "--join-token-file", "-", "--data-folder"];
    let output = rgrid(&[&args[..], &[data.to_str().unwrap()]].concat())
        .env("RGRID_SANDBOX", "process")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!data.join("identity.json").exists(), "it joined nothing");
}

#[test]
fn what_a_simulation_says_can_be_computed_again_from_its_json() {
    let folder = tempfile::tempdir().unwrap();
    let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/../sim/tests/traces/small.swf");
    let picture = folder.path().join("run.svg");
    let simulate = |args: &[&str]| {
        let mut command = rgrid(&["simulate", "--trace", trace, "--boot", "90", "--price", "0.0184"]);
        let output = command.args(args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let told = simulate(&["--json", "--patience", "30", "--svg", picture.to_str().unwrap()]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let hours = |server: &serde_json::Value| {
        ((number(&server["deleted"]) - number(&server["created"])) / 3600.0).ceil() as i64
    };
    let servers = told["servers"].as_array().unwrap();
    let bill: i64 = servers.iter().map(|s| hours(s) * s["price_micros_per_hour"].as_i64().unwrap()).sum();
    assert_eq!((told["summary"]["bill_micros"].as_i64(), bill % 18_400), (Some(bill), 0));
    let executions = told["executions"].as_array().unwrap();
    let longest =
        executions.iter().map(|e| number(&e["started"]) - number(&e["submitted"])).fold(0.0, f64::max);
    assert_eq!(number(&told["summary"]["wait_max"]), longest);
    assert!(std::fs::read_to_string(&picture).unwrap().starts_with("<svg "));

    let table = simulate(&["--policy", "earlier"]);
    assert!(
        ["hour-edge", "earlier", "keep-alive", "work bound"].iter().all(|row| table.contains(row)),
        "{table}"
    );
    let seeded = |seed| text(&rgrid(&["simulate", "--seed", seed]).output().unwrap().stdout);
    let drawn = seeded("4");
    assert!(drawn.contains(" executions; 2 CPUs and EUR 0.0312") && drawn.contains("work bound"), "{drawn}");
    assert_eq!(drawn, seeded("4"));
    assert_ne!(drawn, seeded("8"));
    let missing = rgrid(&["simulate", "--trace", "/nonexistent.swf"]).output().unwrap();
    assert!(text(&missing.stderr).contains("/nonexistent.swf cannot be read"), "{}", text(&missing.stderr));
}
