//! Everything that the provider bills to this grid, and whose it is.

use std::fmt;

use rgrid_core::Timestamp;
use rgrid_core::id::WorkerId;
use rgrid_core::money::{Micros, paid_until};
use rgrid_store::Store;

use crate::cloud::Cloud as _;
use crate::cloud::hetzner::{Address, Hetzner};
use crate::error::Error;

/// Whose something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A worker of this grid.
    Worker(WorkerId),
    /// Whoever wrote this label on it.
    Label(String),
    /// Nobody: it is paid for and of no use.
    Nobody,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(worker) => write!(f, "owned by {worker}"),
            Self::Label(label) => write!(f, "owned by whoever labelled it {label}"),
            Self::Nobody => f.write_str("owned by nobody"),
        }
    }
}

/// Something that is billed by the hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Billed {
    /// `server` or `ipv4`, as in the ledger.
    pub item: &'static str,
    /// The provider's id of it.
    pub id: String,
    /// A server's name; an address.
    pub name: String,
    /// Until when it is paid, by the provider's clock.
    pub paid_until: Timestamp,
    /// A started hour of it; `None` where nobody knows.
    pub hour: Option<Micros>,
    /// Whose it is.
    pub owner: Owner,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// What is billed: servers of this grid with their addresses, and every address of the project that is kept alone.
    pub billed: Vec<Billed>,
    /// Servers that the ledger bills on and the provider does not show: name and id.
    pub not_shown: Vec<(String, String)>,
}

impl Audit {
    /// True when everything that is billed has an owner.
    pub fn is_owned(&self) -> bool {
        self.billed.iter().all(|billed| billed.owner != Owner::Nobody)
    }
}

/// Asks the provider what there is, and holds it against what was ordered.
///
/// # Errors
/// When provider or database do not answer: then nothing is known.
pub async fn audit(store: &Store, provider: &Hetzner) -> Result<Audit, Error> {
    let listing = provider.list(&[]).await?;
    let addresses = provider.addresses().await?;
    let rows = store.servers().await?;
    let now = provider.now();
    let mut billed = Vec::new();
    for listed in &listing.servers {
        let row = rows.iter().find(|row| row.intent == listed.intent && !row.ended);
        let owner = row.and_then(|row| row.worker).map_or(Owner::Nobody, Owner::Worker);
        billed.push(Billed {
            item: "server",
            id: listed.server.id.clone(),
            name: listed.name.clone(),
            paid_until: paid_until(listed.server.created, now),
            hour: row.map(|row| row.price.server.hour.rounded()),
            owner: owner.clone(),
        });
        let its = |address: &&Address| address.server.as_ref() == Some(&listed.server.id);
        billed.extend(addresses.iter().filter(its).map(|address| ipv4(address, owner.clone(), now)));
    }
    let (key, grid) = provider.own_label();
    for address in addresses.iter().filter(|address| address.server.is_none()) {
        let ours = address.labels.get(key) == Some(&grid);
        let label = address.labels.iter().next().filter(|_| !ours);
        let owner = label.map_or(Owner::Nobody, |(key, value)| Owner::Label(format!("{key}={value}")));
        billed.push(ipv4(address, owner, now));
    }
    let shown = |id: &String| listing.servers.iter().any(|listed| listed.server.id == *id);
    let not_shown = rows.iter().filter_map(|row| {
        let id = row.server.clone().filter(|id| !shown(id))?;
        Some((row.name.clone(), id))
    });
    Ok(Audit { billed, not_shown: not_shown.collect() })
}

fn ipv4(address: &Address, owner: Owner, now: Timestamp) -> Billed {
    Billed {
        item: "ipv4",
        id: address.id.clone(),
        name: address.address.clone(),
        paid_until: paid_until(address.created, now),
        hour: address.rate.map(|rate| rate.hour.rounded()),
        owner,
    }
}
