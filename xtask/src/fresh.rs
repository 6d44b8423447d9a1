//! To be written.
use anyhow::Result;

pub(crate) fn fresh(_args: &[String]) -> Result<()> {
    anyhow::bail!("not yet")
}
