//! Public IPv4 addresses: each is billed by itself, and goes on to be when its server is gone and it was kept. Ours come
//! and go with their servers, so that no round asks for them: whoever audits does.

use std::collections::BTreeMap;

use rgrid_core::Timestamp;
use rgrid_core::money::Rate;

use super::budget::Priority;
use super::{Hetzner, PAGE, PAGES_MAX, catalog, wire};
use crate::cloud::Error;

/// A billed address of the project, whoever's it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The provider's id of it.
    pub id: String,
    /// The address; its name where that is not told.
    pub address: String,
    /// When it was made, in the provider's words; now at the latest.
    pub created: Timestamp,
    /// The provider's id of the server that it is assigned to; `None` while it is kept alone.
    pub server: Option<String>,
    /// What somebody wrote on it.
    pub labels: BTreeMap<String, String>,
    /// What it costs today; `None` where the provider does not say.
    pub rate: Option<Rate>,
}

impl Hetzner {
    /// All billed addresses of the project.
    ///
    /// # Errors
    /// When the provider does not answer as it should; nothing is left out in silence.
    pub async fn addresses(&self) -> Result<Vec<Address>, Error> {
        let prices: wire::PricingBody =
            self.api.get("a look at the prices", Priority::Catalog, "/pricing").await?;
        let rates = catalog::read(Vec::new(), prices.pricing).ipv4;
        let mut found: Vec<Address> = Vec::new();
        let mut page = Some(1);
        while let Some(number) = page {
            let path = format!("/primary_ips?sort=id:asc&per_page={PAGE}&page={number}");
            let answer: wire::PrimaryIps =
                self.api.get("a listing of addresses", Priority::List, &path).await?;
            page = wire::next_page(answer.meta.as_ref()).filter(|next| *next > number && *next <= PAGES_MAX);
            // Networks of IPv6 cost nothing.
            for ip in answer.primary_ips.into_iter().filter(|ip| ip.kind.as_deref() != Some("ipv6")) {
                let id = ip.id.to_string();
                if found.iter().any(|known| known.id == id) {
                    continue;
                }
                let place = ip.location.map(|location| location.name);
                let rate = rates.iter().find(|(location, _)| Some(location) == place.as_ref());
                found.push(Address {
                    address: ip.ip.or(ip.name).unwrap_or_else(|| id.clone()),
                    id,
                    created: ip.created.unwrap_or_else(|| self.api.now()),
                    server: ip.assignee_id.map(|server| server.to_string()),
                    labels: ip.labels.unwrap_or_default(),
                    rate: rate.map(|(_, rate)| *rate),
                });
            }
        }
        Ok(found)
    }

    /// The label by which this grid knows its own, as key and value.
    pub(crate) fn own_label(&self) -> (&'static str, String) {
        (super::GRID_LABEL, self.config.grid.to_string())
    }
}
