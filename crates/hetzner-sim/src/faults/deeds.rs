//! What happens at once, behind everybody's back, without any request to the API.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agenda::Event;
use crate::catalog::{self, Deprecation};
use crate::guests::Order;
use crate::labels::Labels;
use crate::money::Nanos;
use crate::servers::Guest;
use crate::world::World;

/// Something that is done by nobody who calls the API. Servers are named by name or id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "deed", rename_all = "snake_case", deny_unknown_fields)]
pub enum Deed {
    /// A server is off all at once.
    PowerOff {
        /// Which.
        server: String,
    },
    /// Its system dies; the API says `running`.
    KillGuest {
        /// Which.
        server: String,
    },
    /// Its system lives and its packets go nowhere.
    CutOff {
        /// Which.
        server: String,
    },
    /// A server is deleted by somebody else.
    DeleteServer {
        /// Which.
        server: String,
    },
    /// Somebody else makes a server in the first project.
    ForeignServer {
        /// Its name, which may be one that we would take.
        name: String,
        /// Its labels, which may look like ours.
        #[serde(default)]
        labels: Labels,
    },
    /// A type has another price from now on; servers that are there keep theirs.
    Price {
        /// Which type.
        server_type: String,
        /// Net euros an hour, as a decimal.
        hourly: String,
        /// Net euros a month, as a decimal.
        monthly: String,
    },
    /// A type is announced to end.
    Deprecate {
        /// Which type.
        server_type: String,
        /// Seconds from now until it can no longer be ordered.
        after_seconds: u32,
    },
    /// A type can be ordered or not.
    Stock {
        /// Which type.
        server_type: String,
        /// Where; everywhere when nothing is said.
        #[serde(default)]
        location: Option<String>,
        /// Whether it can be ordered.
        available: bool,
        /// Seconds after which it can be ordered again.
        #[serde(default)]
        for_seconds: Option<u32>,
    },
    /// What a project may have at most.
    Limits {
        /// Servers.
        servers: usize,
        /// Cores.
        cores: u64,
        /// Primary addresses.
        primary_ips: usize,
    },
    /// The first project's budget of calls falls to this.
    Drain {
        /// Calls that are left.
        left: u64,
    },
    /// A token is no longer known, or is again.
    Token {
        /// Which.
        token: String,
        /// Whether it is known.
        valid: bool,
    },
}

impl World {
    /// Does it; refuses what names nothing.
    pub(crate) fn do_deed(&mut self, deed: Deed) -> Result<(), String> {
        match deed {
            Deed::PowerOff { server } => {
                let (p, id) = self.named_server(&server)?;
                self.power_off(p, id);
            }
            Deed::KillGuest { server } => {
                let (p, id) = self.named_server(&server)?;
                if let Some(server) = self.server_mut(p, id) {
                    server.guest = Guest::Dead;
                    server.boot += 1;
                }
                self.order(Order::Stop { server: id });
            }
            Deed::CutOff { server } => {
                let (p, id) = self.named_server(&server)?;
                if let Some(server) = self.server_mut(p, id) {
                    server.cut_off = true;
                }
                self.order(Order::CutOff { server: id });
            }
            Deed::DeleteServer { server } => {
                let (p, id) = self.named_server(&server)?;
                self.delete_behind(p, id).map_err(|error| error.message)?;
            }
            Deed::ForeignServer { name, labels } => {
                self.foreign_server(0, &name, &labels).map_err(|error| error.message)?;
            }
            Deed::Price { server_type, hourly, monthly } => {
                let read = |text: &str| Nanos::parse(text).ok_or_else(|| format!("`{text}` is no price"));
                let (hourly, monthly) = (read(&hourly)?, read(&monthly)?);
                for offer in &mut self.named_type(&server_type)?.offers {
                    (offer.hourly, offer.monthly) = (hourly, monthly);
                }
            }
            Deed::Deprecate { server_type, after_seconds } => {
                let announced = self.now;
                let unavailable_after = announced + TimeDelta::seconds(i64::from(after_seconds));
                for offer in &mut self.named_type(&server_type)?.offers {
                    offer.deprecation = Some(Deprecation { announced, unavailable_after });
                }
            }
            Deed::Stock { server_type, location, available, for_seconds } => {
                let offers = self.named_type(&server_type)?.offers.iter();
                let places: Vec<String> = offers
                    .map(|offer| offer.location.clone())
                    .filter(|place| location.as_ref().is_none_or(|wanted| wanted == place))
                    .collect();
                if places.is_empty() {
                    return Err(format!("{server_type} is not offered there"));
                }
                for location in places {
                    self.set_available(&server_type, &location, available);
                    if let Some(seconds) = for_seconds {
                        let at = self.now + TimeDelta::seconds(i64::from(seconds));
                        self.agenda.put(at, Event::InStock { server_type: server_type.clone(), location });
                    }
                }
            }
            Deed::Limits { servers, cores, primary_ips } => {
                self.limits.servers = servers;
                self.limits.cores = cores;
                self.limits.primary_ips = primary_ips;
            }
            Deed::Drain { left } => {
                let now = self.now;
                self.projects[0].budget.drain(left, now);
            }
            Deed::Token { token, valid } => {
                let mut tokens = self.projects.iter_mut().flat_map(|project| &mut project.tokens);
                let found = tokens.find(|known| known.token == token).ok_or("there is no such token")?;
                found.revoked = !valid;
            }
        }
        Ok(())
    }

    pub(crate) fn set_available(&mut self, server_type: &str, location: &str, available: bool) {
        let offers = self.catalog.server_type_mut(server_type).map(|found| &mut found.offers);
        for offer in offers.into_iter().flatten().filter(|offer| offer.location == location) {
            offer.available = available;
        }
    }

    fn named_type(&mut self, name: &str) -> Result<&mut catalog::ServerType, String> {
        self.catalog.server_type_mut(name).ok_or_else(|| format!("there is no server type {name}"))
    }

    /// The project and id of a server.
    pub(crate) fn named_server(&self, which: &str) -> Result<(usize, i64), String> {
        let which = Value::from(which);
        for (p, project) in self.projects.iter().enumerate() {
            for server in project.servers.values() {
                if catalog::means(&which, server.id, &server.name) {
                    return Ok((p, server.id));
                }
            }
        }
        Err(format!("there is no server {which}"))
    }
}
