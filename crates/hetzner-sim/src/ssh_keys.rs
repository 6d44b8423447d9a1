//! SSH keys, with the fingerprint that the provider shows.

use base64::Engine;
use chrono::{DateTime, Utc};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::Body;
use crate::call::{Answer, Call, stamp};
use crate::errors::ApiError;
use crate::labels::Labels;
use crate::listing::{self, Distortion};
use crate::world::World;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SshKey {
    pub(crate) id: i64,
    pub(crate) name: String,
    labels: Labels,
    created: DateTime<Utc>,
    pub(crate) public_key: String,
    fingerprint: String,
}

impl SshKey {
    fn show(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "fingerprint": self.fingerprint, "public_key": self.public_key,
            "labels": self.labels, "created": stamp(self.created),
        })
    }
}

/// MD5 of the key's material, in hexadecimal pairs with colons between.
fn fingerprint(public_key: &str) -> Option<String> {
    let mut words = public_key.split_whitespace();
    let (kind, material) = (words.next()?, words.next()?);
    let is_key = kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
    let material = base64::engine::general_purpose::STANDARD.decode(material).ok()?;
    let digest = Md5::digest(&material);
    let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    (is_key && !material.is_empty()).then(|| pairs.join(":"))
}

impl World {
    fn ssh_key(&self, p: usize, id: &str) -> Result<&SshKey, ApiError> {
        let key = id.parse().ok().and_then(|id: i64| self.projects[p].ssh_keys.get(&id));
        key.ok_or_else(|| ApiError::not_found("ssh_key", id))
    }

    pub(crate) fn list_ssh_keys(&self, p: usize, call: &Call) -> Result<Answer, ApiError> {
        let rows = self.projects[p]
            .ssh_keys
            .values()
            .filter(|key| call.query("fingerprint").is_none_or(|wanted| key.fingerprint == wanted))
            .map(SshKey::show)
            .collect();
        listing::list(call, "ssh_keys", rows, &["id", "name"], Distortion::default())
    }

    pub(crate) fn get_ssh_key(&self, p: usize, id: &str) -> Result<Answer, ApiError> {
        Ok(Answer::ok(json!({"ssh_key": self.ssh_key(p, id)?.show()})))
    }

    pub(crate) fn create_ssh_key(&mut self, p: usize, mut body: Body) -> Result<Answer, ApiError> {
        let (name, public_key) = (body.required_text("name")?, body.required_text("public_key")?);
        let labels = body.labels()?.unwrap_or_default();
        body.end()?;
        let public_key = public_key.trim().to_owned();
        let fingerprint = fingerprint(&public_key)
            .ok_or_else(|| ApiError::field("public_key", "SSH key is not correctly formatted"))?;
        let of = &self.projects[p];
        if name.is_empty() {
            return Err(ApiError::field("name", "must not be empty"));
        }
        if of.ssh_keys.values().any(|key| key.name == name) {
            return Err(ApiError::taken("SSH key", "name", self.fields_on_conflict));
        }
        if of.ssh_keys.values().any(|key| key.fingerprint == fingerprint) {
            let mut error = ApiError::taken("SSH key", "public_key", self.fields_on_conflict);
            "SSH key with the same fingerprint already exists".clone_into(&mut error.message);
            return Err(error);
        }
        let id = self.next_id();
        let created = crate::world::whole_second(self.now);
        let key = SshKey { id, name, labels, created, public_key, fingerprint };
        let shown = key.show();
        self.projects[p].ssh_keys.insert(id, key);
        Ok(Answer::created(json!({"ssh_key": shown})))
    }

    pub(crate) fn update_ssh_key(&mut self, p: usize, id: &str, mut body: Body) -> Result<Answer, ApiError> {
        let key = self.ssh_key(p, id)?.id;
        let (name, labels) = (body.text("name")?, body.labels()?);
        body.end()?;
        let others = |other: &&SshKey| other.id != key && Some(&other.name) == name.as_ref();
        if self.projects[p].ssh_keys.values().any(|other| others(&other)) {
            return Err(ApiError::taken("SSH key", "name", self.fields_on_conflict));
        }
        if let Some(key) = self.projects[p].ssh_keys.get_mut(&key) {
            key.name = name.unwrap_or_else(|| key.name.clone());
            key.labels = labels.unwrap_or_else(|| key.labels.clone());
        }
        self.get_ssh_key(p, id)
    }

    pub(crate) fn delete_ssh_key(&mut self, p: usize, id: &str) -> Result<Answer, ApiError> {
        let key = self.ssh_key(p, id)?.id;
        self.projects[p].ssh_keys.remove(&key);
        Ok(Answer::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_the_material() {
        // `ssh-keygen -E md5 -lf` says the same of it.
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzWjEkS6LHlYUHzGhkMl4v1wY4nVsPpw6LbZv4cYq4f somebody";
        let shown = fingerprint(key).unwrap();
        assert_eq!((shown.len(), shown.matches(':').count()), (47, 15));
        assert_eq!(fingerprint("ssh-ed25519 no*base64"), None);
        assert_eq!(fingerprint("hello AAAA"), None);
    }
}
