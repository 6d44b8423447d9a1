//! `rgrid doctor`: looks at everything, and says how to repair what does not work. Starts nothing.

use rgrid_api::client::{Client, ClientError};

use crate::credentials;
use crate::discovery::interpreter;
use crate::errors::Error;
use crate::grid::{Check, EmbeddedGrid, GridAddress, Health, Wishes};
use crate::session::Session;
use crate::terminal;

pub(super) async fn doctor<G: EmbeddedGrid>(session: &Session<'_, G>) -> Result<u8, Error> {
    let mut checks = Vec::new();
    let wishes = Wishes::look(session.globals.profile.as_deref());
    if let Some(path) = wishes.credentials.as_deref().filter(|path| credentials::is_exposed(path)) {
        let path = path.display();
        checks.push(bad(
            "credentials",
            format!("others of this machine can read {path}"),
            format!("chmod 600 {path}"),
        ));
    }
    checks.push(python());
    match wishes.choose() {
        Ok((_, Some(address))) => checks.extend(grid(&address).await),
        Ok((_, None)) => {
            checks.extend(session.embedded().doctor());
            match session.embedded().find().await {
                Some(address) => checks.extend(grid(&address).await),
                None => checks.push(good("grid of this machine", "does not run; the next command starts it")),
            }
        }
        Err(error) => {
            let message = error.message();
            checks.push(bad("configuration", message.what, message.next.join("; ")));
        }
    }
    terminal::print(&session.output().checks(&checks));
    match checks.iter().filter(|check| matches!(check.health, Health::Bad { .. })).count() {
        0 => Ok(0),
        problems => Err(Error::Unhealthy { problems }),
    }
}

fn good(what: &str, found: impl Into<String>) -> Check {
    Check { what: what.to_owned(), health: Health::Good(found.into()) }
}

fn bad(what: &str, problem: String, fix: String) -> Check {
    Check { what: what.to_owned(), health: Health::Bad { problem, fix } }
}

fn python() -> Check {
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let place = interpreter::Place { script_folder: &cwd, root: &cwd, cwd: &cwd, cache_folder: None };
    match interpreter::find(place, &interpreter::Variables::of_process()) {
        Ok(found) => good("python", format!("3.{} at {}", found.minor, found.path.display())),
        Err(error) => Check {
            what: "python".to_owned(),
            health: Health::Limited(format!("{error}; scripts run with the grid's own")),
        },
    }
}

/// Looks at a grid from outside.
async fn grid(address: &GridAddress) -> Vec<Check> {
    let told = |error: ClientError| {
        let message = Error::grid(&address.url, error).message();
        vec![bad("grid", message.what, message.next.join("; "))]
    };
    let client = match Client::new(&address.url, &address.key) {
        Ok(client) => client,
        Err(error) => return told(error),
    };
    let health = match client.health().await {
        Ok(health) => health,
        Err(error) => return told(error),
    };
    let mut checks =
        vec![good("grid", format!("{} answers, version {}, {}", address.url, health.version, health.status))];
    if health.version != env!("CARGO_PKG_VERSION") {
        checks.push(Check {
            what: "version".to_owned(),
            health: Health::Limited(format!(
                "the grid is {}, this command is {}",
                health.version,
                env!("CARGO_PKG_VERSION")
            )),
        });
    }
    match client.ready().await {
        Ok(ready) => {
            for (what, state) in
                [("database", ready.database), ("objects", ready.objects), ("migrations", ready.migrations)]
            {
                if state != "ok" {
                    checks.push(bad(what, state, "the grid's operator should look at its log".to_owned()));
                }
            }
        }
        Err(error) => checks.extend(told(error)),
    }
    match client.whoami().await {
        Ok(whoami) => checks.push(good("key", format!("{} of account {}", whoami.key.name, whoami.account))),
        Err(error) => checks.extend(told(error)),
    }
    checks
}
