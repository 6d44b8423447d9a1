//! The operator's public key, by which servers can be entered: the provider learns it once, before the first server, under
//! a name of ours. An equal key that it has already is used, whatever it is called.

use std::sync::PoisonError;

use serde_json::json;

use super::{Error, Failure, Hetzner, PAGE, PAGES_MAX, Priority, wire};

/// Characters of the key that its name ends with: another key is another name.
const TAIL: usize = 12;

impl Hetzner {
    /// What the provider calls the operator's key; `None` when servers get none.
    pub(super) async fn key_name(&self) -> Result<Option<String>, Error> {
        let Some(public) = &self.config.ssh_public_key else { return Ok(None) };
        let known = self.key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() {
            return Ok(known);
        }
        let name = match self.key_like(public).await? {
            Some(name) => name,
            None => self.register_key(public).await?,
        };
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.clone());
        Ok(Some(name))
    }

    /// The provider may not have it any more: it is looked for again before the next server.
    pub(super) fn forget_key(&self) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The name of a key with the same material.
    async fn key_like(&self, public: &str) -> Result<Option<String>, Error> {
        let mut page = Some(1);
        while let Some(number) = page {
            let path = format!("/ssh_keys?per_page={PAGE}&page={number}");
            let keys: wire::SshKeys = self.api.get("a look at the keys", Priority::Create, &path).await?;
            let same =
                |key: &&wire::SshKey| key.public_key.as_deref().map(material) == Some(material(public));
            if let Some(name) = keys.ssh_keys.iter().find(same).and_then(|key| key.name.clone()) {
                return Ok(Some(name));
            }
            page = wire::next_page(keys.meta.as_ref()).filter(|next| *next > number && *next <= PAGES_MAX);
        }
        Ok(None)
    }

    async fn register_key(&self, public: &str) -> Result<String, Error> {
        let name = key_name(&self.config.grid.to_string(), public);
        let labels = [(super::GRID_LABEL, self.config.grid.to_string())];
        let body = json!({
            "name": name, "public_key": public, "labels": std::collections::BTreeMap::from(labels),
        });
        match self.api.post::<wire::OneSshKey>("a key", "/ssh_keys", &body).await {
            Ok(_) => Ok(name),
            // No server was asked for yet, whatever became of the key: the next create looks for it.
            Err(Error::Provider { call, failure: Failure::Ambiguous | Failure::NameTaken, words }) => {
                Err(Error::Provider { call, failure: Failure::Unavailable, words })
            }
            Err(error) => Err(error),
        }
    }
}

/// Kind and key, without the comment.
fn material(public: &str) -> (Option<&str>, Option<&str>) {
    let mut words = public.split_whitespace();
    (words.next(), words.next())
}

fn key_name(grid: &str, public: &str) -> String {
    let key = material(public).1.unwrap_or_default();
    let plain: Vec<char> = key.chars().filter(char::is_ascii_alphanumeric).collect();
    let tail: String = plain[plain.len().saturating_sub(TAIL)..].iter().collect();
    format!("rgrid-{grid}-{tail}")
}
