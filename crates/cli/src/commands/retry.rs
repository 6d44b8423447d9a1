//! `rgrid retry`: the same submission again, as a new execution.

use rgrid_api::logs::Cursor;
use rgrid_core::outcome::EXIT_INTERRUPTED;

use super::download::{before, place};
use crate::args::{OnInterrupt, RetryArgs};
use crate::conclusion::conclude;
use crate::ending;
use crate::errors::{Error, Message};
use crate::follow::Show;
use crate::grid::EmbeddedGrid;
use crate::interrupt::Signals;
use crate::session::Session;
use crate::submission::idempotency_key;
use crate::terminal;
use crate::watch::{Watch, Watched, watch};

pub(super) async fn retry<G: EmbeddedGrid>(args: RetryArgs, session: &Session<'_, G>) -> Result<u8, Error> {
    let connection = session.connect().await?;
    let created = connection
        .client()
        .retry(&args.id, &idempotency_key()?)
        .await
        .map_err(|error| connection.failed(error))?;
    let id = created.execution.id.clone();
    if !created.missing.is_empty() {
        // It would wait an hour for inputs that nobody sends. The grid forgets it by then if this does not arrive.
        let _ = connection.client().cancel(&id).await;
        return Err(Error::InputsGone { id: args.id });
    }
    if args.detach {
        terminal::print(&session.output().submitted(&created.execution, false));
        return Ok(0);
    }
    let place = match place(&created.execution, None) {
        Ok(place) => place,
        Err(error) => {
            // Its files could not be put anywhere; the person hears why in any case.
            let _ = connection.client().cancel(&id).await;
            return Err(error);
        }
    };
    session.notes.say(&format!("runs again as {id}"));
    let mut signals = Signals::install();
    let show = if session.globals.json { Show::BothOnStderr } else { Show::Both };
    let policy = if connection.embedded { OnInterrupt::Cancel } else { OnInterrupt::Detach };
    let what = Watch { id: &id, cursor: Cursor::default(), show, policy, stdin: None };
    let Watched::Ended { execution, .. } = watch(session, &connection, what, &mut signals).await? else {
        return Ok(EXIT_INTERRUPTED);
    };
    let said = ending::sentence(&execution).map(|what| Message { what, next: Vec::new() });
    let before = before(&connection, &execution).await?;
    conclude(session, &connection, &execution, (&place, &before), (said, false), &mut signals).await
}
