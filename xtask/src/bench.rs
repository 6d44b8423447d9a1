//! To be written.
use anyhow::Result;

pub(crate) fn bench(_args: &[String]) -> Result<()> {
    anyhow::bail!("not yet")
}
