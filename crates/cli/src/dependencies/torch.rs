//! Torch for machines without a GPU (DESIGN section 6): where it comes from.

/// The host of torch for machines without a GPU.
pub(super) const HOST: &str = "download.pytorch.org";

/// True of an index of PyTorch's own.
pub(super) fn is_index(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| rest.split('/').next() == Some(HOST))
}
