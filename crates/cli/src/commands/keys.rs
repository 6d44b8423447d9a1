//! `rgrid keys`: the account's API keys.

use rgrid_api::keys::CreateKey;

use crate::args::{KeysArgs, KeysCommand};
use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::session::Session;
use crate::submission::idempotency_key;
use crate::terminal;

pub(super) async fn keys<G: EmbeddedGrid>(args: KeysArgs, session: &Session<'_, G>) -> Result<u8, Error> {
    let connection = session.connect().await?;
    let client = connection.client();
    let text = match args.command.unwrap_or(KeysCommand::List) {
        KeysCommand::List => {
            let list = client.keys().await.map_err(|error| connection.failed(error))?;
            session.output().keys(&list.keys)
        }
        KeysCommand::Create { name, role } => {
            let body = CreateKey { name, role };
            let created = client
                .create_key(&body, &idempotency_key()?)
                .await
                .map_err(|error| connection.failed(error))?;
            session.notes.say(&format!("{} is made; its secret is shown this once:", created.key.id));
            session.output().key_created(&created)
        }
        KeysCommand::Revoke { id } => {
            let key = client.revoke_key(&id).await.map_err(|error| connection.failed(error))?;
            session.output().key_revoked(&key)
        }
    };
    terminal::print(&text);
    Ok(0)
}
