//! What must be installed before a script starts: the user's side of it, and the runner's, which builds environments
//! and shares them.

use std::collections::BTreeMap;

use rgrid_core::dependencies::{Dependencies, LocalPackage};
use rgrid_core::submission::Refusal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::executions::parsed;

/// The packages of an execution, locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DependenciesBody {
    /// Where they were declared, for people.
    #[schema(max_length = 256)]
    pub source: String,
    /// `/rgrid/requirements.txt`, which is among the inputs: every version with its hashes, as pip and uv read it.
    #[schema(pattern = "^/rgrid/requirements[.]txt$")]
    pub lock: String,
    /// What the lock installs from the user's own machine.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub local: Vec<LocalPackageBody>,
    /// `user:password` by the address of an index; kept encrypted and never shown.
    #[serde(default)]
    pub credentials: BTreeMap<String, String>,
}

/// A package, a folder of one, or an archive that lies among the inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalPackageBody {
    /// Where.
    #[schema(pattern = "^/", max_length = 4095)]
    pub path: String,
    /// Its modules stay where they are.
    pub editable: bool,
}

impl TryFrom<&DependenciesBody> for Dependencies {
    type Error = Refusal;

    fn try_from(body: &DependenciesBody) -> Result<Self, Refusal> {
        let local = |package: &LocalPackageBody| {
            Ok(LocalPackage { path: parsed("dependencies", &package.path)?, editable: package.editable })
        };
        Ok(Self {
            source: body.source.clone(),
            lock: parsed("dependencies", &body.lock)?,
            local: body.local.iter().map(local).collect::<Result<_, Refusal>>()?,
            credentials: body.credentials.clone(),
        })
    }
}

impl From<&Dependencies> for DependenciesBody {
    fn from(dependencies: &Dependencies) -> Self {
        let local = |package: &LocalPackage| LocalPackageBody {
            path: package.path.to_string(),
            editable: package.editable,
        };
        Self {
            source: dependencies.source.clone(),
            lock: dependencies.lock.to_string(),
            local: dependencies.local.iter().map(local).collect(),
            credentials: dependencies.credentials.clone(),
        }
    }
}
