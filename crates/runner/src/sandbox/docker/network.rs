//! A container's network: it is made without one, and given an interface by us, behind the same rules as the process
//! sandbox's jobs. So no neighbour shares it, and the engine's own way of connecting containers, which takes longer than
//! starting one, is not needed.

use super::super::process::instance::Instance;
use super::super::process::network::SlotNetwork;
use super::super::process::network::veth::Veth;
use super::super::{SandboxConfig, SandboxError};
use super::inside::Inside;

/// The networks of one runner's slots.
#[derive(Debug)]
pub(super) struct Networks(Veth);

impl Networks {
    /// Turns routing on and applies the rules, ahead of any container.
    pub(super) async fn prepare(config: &SandboxConfig, instance: &Instance) -> Result<Self, SandboxError> {
        Veth::prepare(config, instance).await.map(Self)
    }

    /// Makes the host ready for the slot's next container; whatever had the slot's network has it no more.
    pub(super) async fn clear(&self, slot: u32) -> Result<(), SandboxError> {
        self.0.clear(slot).await
    }

    /// Gives a container the slot's network, after the slot was cleared.
    pub(super) async fn connect(&self, slot: u32, inside: &Inside) -> Result<SlotNetwork, SandboxError> {
        let namespace = inside.network().map_err(SandboxError::system("copy a descriptor"))?;
        self.0.connect(slot, namespace).await
    }

    /// Removes rules and interfaces. No container is in them any more.
    pub(super) async fn close(&self) {
        self.0.close().await;
    }
}
