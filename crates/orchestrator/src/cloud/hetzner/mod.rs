//! Hetzner Cloud: a thin client of the few calls that are needed (`call`, `wire`), and servers that boot into workers
//! (`boot`).

mod address;
mod boot;
mod budget;
mod call;
mod catalog;
mod failure;
mod ssh_key;
mod token;
mod wire;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rgrid_core::Timestamp;
use rgrid_core::fleet::Backing;
use rgrid_core::fleet::catalog::Catalog;
use rgrid_core::id::{GridId, IntentId, WorkerId};
use rgrid_core::limits;
use rgrid_store::servers::server_name;
use serde_json::json;

use self::budget::Priority;
use self::call::{Api, Deleted};
use super::{Cloud, Deletion, Error, Failure, Listed, Listing, Server, Target, Wish};
use crate::guards;

pub use self::address::Address;
pub use self::boot::{Boot, close_metadata};
pub use self::budget::PROBE;
pub use self::token::Token;

/// Where the provider answers.
pub const ENDPOINT: &str = "https://api.hetzner.cloud/v1";
/// Whose a server is: this grid's id.
pub const GRID_LABEL: &str = "rgrid/grid";
/// The intent it was made for.
pub const INTENT_LABEL: &str = "rgrid/intent";
/// The worker it is to be.
pub const WORKER_LABEL: &str = "rgrid/worker";
/// Which life of the grid made it.
pub const EPOCH_LABEL: &str = "rgrid/epoch";
/// Servers on a page: the most there may be.
const PAGE: u32 = 50;
/// Pages that are read of one list.
const PAGES_MAX: u32 = 200;
/// Expected servers that one listing lacks and that are asked for one by one; the others wait for the next.
const CONFIRMED_MAX: usize = 10;
/// Times that a create is sent, when nothing is known of what the one before did.
const CREATES_MAX: u32 = 2;

/// What the provider is told of.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its address.
    pub endpoint: String,
    /// What opens the project.
    pub token: Token,
    /// Whose servers they are.
    pub grid: GridId,
    /// Which life of the grid makes them.
    pub epoch: i64,
    /// The image's name.
    pub image: String,
    /// Servers have a public IPv4 address.
    pub ipv4: bool,
    /// Servers have a public IPv6 network.
    pub ipv6: bool,
    /// The private network that they are attached to.
    pub network: Option<u64>,
    /// The public keys that open them, by name or id.
    pub ssh_keys: Vec<String>,
    /// One more, as a line of OpenSSH, which the provider learns before the first server.
    pub ssh_public_key: Option<String>,
    /// How they become workers.
    pub boot: Boot,
    /// When too few calls seem to be left for one of a kind, one is made this often all the same: its answer tells.
    pub probe: Duration,
}

/// The provider.
#[derive(Debug)]
pub struct Hetzner {
    config: Config,
    api: Api,
    /// What the provider calls the operator's key, once that is known.
    key: Mutex<Option<String>>,
}

impl Hetzner {
    /// A client; nothing is called yet.
    ///
    /// # Errors
    /// When the TLS of the machine cannot be set up.
    pub fn new(config: Config) -> Result<Self, Error> {
        let api = Api::new(&config.endpoint, config.token.clone(), config.probe).map_err(|error| {
            Error::Provider {
                call: "nothing yet",
                failure: Failure::Refused,
                words: config.token.redact(&error.to_string()),
            }
        })?;
        Ok(Self { config, api, key: Mutex::default() })
    }

    /// The labels of a server of ours.
    fn labels(&self, intent: IntentId, worker: WorkerId) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            (GRID_LABEL, self.config.grid.to_string()),
            (INTENT_LABEL, intent.to_string()),
            (WORKER_LABEL, worker.to_string()),
            (EPOCH_LABEL, self.config.epoch.to_string()),
        ])
    }

    /// A server as ours; `None` for anybody else's, whatever it is called: the mark must be whole, and the name must be
    /// the one that its intent gives.
    fn ours(&self, server: &wire::Server) -> Option<Listed> {
        let labels = server.labels.as_ref()?;
        let label = |name: &str| labels.get(name).map(String::as_str);
        let intent: IntentId = label(INTENT_LABEL)?.parse().ok()?;
        let worker: WorkerId = label(WORKER_LABEL)?.parse().ok()?;
        let epoch: i64 = label(EPOCH_LABEL)?.parse().ok()?;
        let name = server.name.clone()?;
        let mark =
            label(GRID_LABEL) == Some(self.config.grid.to_string().as_str()) && name == server_name(intent);
        let whole = mark || !guards::holds(&guards::OURS_ALONE);
        whole.then(|| Listed { server: self.server(server), name, worker, intent, epoch })
    }

    /// Without its own word on when it was created, that was now at the latest.
    fn server(&self, server: &wire::Server) -> Server {
        Server {
            id: server.id.to_string(),
            created: server.created.unwrap_or_else(|| self.api.now()),
            rate: catalog::rate_of(server),
        }
    }

    /// The server with exactly this name.
    async fn named(&self, priority: Priority, name: &str) -> Result<Option<wire::Server>, Error> {
        let path = format!("/servers?name={name}");
        let found: wire::Servers = self.api.get("a search by name", priority, &path).await?;
        Ok(found.servers.into_iter().find(|server| server.name.as_deref() == Some(name)))
    }

    /// Adopts the server of this name when it is ours; a refusal when it is somebody else's.
    async fn adopt(&self, name: &str) -> Result<Option<Server>, Error> {
        let Some(found) = self.named(Priority::Create, name).await? else { return Ok(None) };
        match self.ours(&found) {
            Some(listed) => {
                tracing::info!(server = listed.server.id, name, "adopted: an earlier create had made it");
                Ok(Some(listed.server))
            }
            None => Err(Error::Provider {
                call: "a create",
                failure: Failure::NameTaken,
                words: format!("somebody else's server has the name {name}"),
            }),
        }
    }

    fn order(&self, wish: &Wish, key: Option<String>) -> Result<(String, serde_json::Value), Error> {
        let Some(server) = &wish.server else {
            let words = "no type was named".to_owned();
            return Err(Error::Provider { call: "a create", failure: Failure::Refused, words });
        };
        let mut body = json!({
            "name": server.name,
            "server_type": server.machine_type,
            "location": server.location,
            "image": self.config.image,
            "start_after_create": true,
            "labels": self.labels(server.intent, wish.worker),
            "public_net": {"enable_ipv4": self.config.ipv4, "enable_ipv6": self.config.ipv6},
            "user_data": self.config.boot.user_data(&server.name, &wish.join_token),
        });
        if let Some(network) = self.config.network {
            body["networks"] = json!([network]);
        }
        let mut keys = self.config.ssh_keys.clone();
        keys.extend(key.filter(|key| !keys.contains(key)));
        if !keys.is_empty() {
            body["ssh_keys"] = json!(keys);
        }
        Ok((server.name.clone(), body))
    }

    /// Which of `missing` are gone for certain: each is asked for by itself.
    async fn confirm_gone(&self, missing: Vec<&Target>) -> Vec<WorkerId> {
        let mut gone = Vec::new();
        for target in missing.into_iter().take(CONFIRMED_MAX) {
            let absent = match (&target.server, &target.name) {
                (Some(id), _) => {
                    let path = format!("/servers/{id}");
                    let look = self.api.get::<wire::One>("a look at one", Priority::List, &path);
                    matches!(look.await, Err(Error::Provider { failure: Failure::NotFound, .. }))
                }
                (None, Some(name)) => matches!(self.named(Priority::List, name).await, Ok(None)),
                (None, None) => false,
            };
            if absent || !guards::holds(&guards::ABSENCE_CONFIRMED) {
                gone.push(target.worker);
            }
        }
        gone
    }
}

impl Cloud for Hetzner {
    fn name(&self) -> &'static str {
        "hetzner"
    }

    fn backing(&self) -> Backing {
        Backing::Server
    }

    async fn list(&self, expected: &[Target]) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        let mut page = Some(1);
        let mut pages = 0;
        while let Some(number) = page {
            pages += 1;
            let path = format!(
                "/servers?label_selector={GRID_LABEL}%3D{}&sort=id:asc&per_page={PAGE}&page={number}",
                self.config.grid
            );
            let answer: wire::Servers = self.api.get("a listing", Priority::List, &path).await?;
            for listed in answer.servers.iter().filter_map(|server| self.ours(server)) {
                // What is being deleted may stand on two pages.
                if listing.servers.iter().all(|known| known.server.id != listed.server.id) {
                    listing.present.push(listed.worker);
                    listing.servers.push(listed);
                }
            }
            page = wire::next_page(answer.meta.as_ref()).filter(|next| *next > number && pages < PAGES_MAX);
        }
        let missing = expected.iter().filter(|target| !listing.present.contains(&target.worker)).collect();
        listing.gone = self.confirm_gone(missing).await;
        listing.skew = self.api.skew();
        Ok(listing)
    }

    /// Nothing is repeated blindly: when the answer does not say whether there is a server now, it is looked for by its
    /// name, and only when there is none it is asked for once more. It has one name, so there is one at most.
    async fn create(&self, wish: &Wish) -> Result<Option<Server>, Error> {
        let (name, body) = self.order(wish, self.key_name().await?)?;
        let (mut sent, begun) = (0, Instant::now());
        loop {
            sent += 1;
            let failed = match self.api.post::<wire::One>("a create", "/servers", &body).await {
                Ok(answer) => return Ok(Some(self.server(&answer.server))),
                Err(failed) => failed,
            };
            match failed.failure() {
                Some(Failure::Ambiguous | Failure::NameTaken) => {
                    if guards::holds(&guards::SOUGHT_BY_NAME)
                        && let Some(server) = self.adopt(&name).await?
                    {
                        return Ok(Some(server));
                    }
                    // After longer another may lead, who has given the order up.
                    if sent >= CREATES_MAX || begun.elapsed() > limits::LEADER_TTL {
                        return Err(failed);
                    }
                }
                Some(
                    Failure::Capacity
                    | Failure::Quota
                    | Failure::Unauthorized
                    | Failure::TooManyCalls
                    | Failure::Unavailable
                    | Failure::Locked
                    | Failure::Protected
                    | Failure::NotFound
                    | Failure::Refused,
                )
                | None => {
                    self.forget_key();
                    // The one before may have been carried out all the same.
                    let unsure = sent > 1 && guards::holds(&guards::EARLIER_SENDING);
                    return if unsure { Err(ambiguous(failed)) } else { Err(failed) };
                }
            }
        }
    }

    async fn delete(&self, target: &Target) -> Result<Deletion, Error> {
        let id = match (&target.server, &target.name) {
            (Some(id), _) => Some(id.clone()),
            (None, Some(name)) => {
                let found = self.named(Priority::Delete, name).await?;
                found.and_then(|server| self.ours(&server)).map(|listed| listed.server.id)
            }
            (None, None) => None,
        };
        let Some(id) = id else { return Ok(Deletion::Gone(self.api.now())) };
        Ok(match self.api.delete("a delete", &format!("/servers/{id}")).await? {
            Deleted::Taken(told) => Deletion::Asked(self.api.settled(told).await),
            Deleted::NotThere(told) => Deletion::Gone(self.api.settled(told).await),
        })
    }

    async fn catalog(&self) -> Result<Catalog, Error> {
        let mut types = Vec::new();
        let mut page = Some(1);
        while let Some(number) = page {
            let path = format!("/server_types?per_page={PAGE}&page={number}");
            let answer: wire::ServerTypes =
                self.api.get("a look at the types", Priority::Catalog, &path).await?;
            page = wire::next_page(answer.meta.as_ref()).filter(|next| *next > number && *next <= PAGES_MAX);
            types.extend(answer.server_types);
        }
        let prices: wire::PricingBody =
            self.api.get("a look at the prices", Priority::Catalog, "/pricing").await?;
        Ok(catalog::read(types, prices.pricing))
    }

    async fn changed(&self) {
        std::future::pending().await
    }

    async fn close(&self) {}
}

/// The same failure, of a create of which an earlier sending may have been carried out.
fn ambiguous(error: Error) -> Error {
    match error {
        Error::Provider { call, words, .. } => Error::Provider { call, failure: Failure::Ambiguous, words },
        Error::Spawn(_) | Error::Signal(_) | Error::LeaseEnded { .. } => error,
    }
}

impl Hetzner {
    /// The provider's time, as far as its answers told it.
    pub fn now(&self) -> Timestamp {
        self.api.now()
    }
}

#[cfg(test)]
mod tests;
