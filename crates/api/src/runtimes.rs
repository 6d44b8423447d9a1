//! Runtimes: what executions can be run by on this grid.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The answer to `GET /runtimes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuntimeList {
    /// Pythons first, oldest first; then images by their short names.
    pub runtimes: Vec<RuntimeBody>,
    /// True on a machine's own grid: every image that its Docker has may be named too.
    pub own_images: bool,
}

/// One runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuntimeBody {
    /// As it is asked for: `python:3.12` by `--runtime`, an image's short name by `--image`.
    pub name: String,
    /// The image that it is, or runs in; absent for a Python of the worker's.
    pub image: Option<String>,
}
