//! What must be installed before a script starts: the user's side of it, and the runner's, which builds environments
//! and shares them.

use std::collections::BTreeMap;

use rgrid_core::dependencies::{Dependencies, LocalPackage};
use rgrid_core::environment::{EnvironmentOrigin, HasLog, Installation};
use rgrid_core::submission::Refusal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::bytes64::Bytes64;
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

/// The body of `POST /attempts/{execution}/{attempt}/environment`: a runner needs an environment that it does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentWanted {
    /// Hash of all that decides what is in it.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub key: String,
    /// The blob that an earlier answer named, when its bytes were not there or not what their hash says.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    #[serde(default)]
    pub damaged: Option<String>,
}

/// Where an environment is to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum EnvironmentAnswer {
    /// Somebody has built it for this account.
    Ready {
        /// Hash of the packed environment.
        sha256: String,
        /// Its size.
        size_bytes: u64,
        /// Where to GET it without a key (absolute, or a path on the API).
        url: String,
    },
    /// Nobody has: this attempt is the one to build it.
    Build,
    /// Another attempt builds it: ask again.
    Wait,
}

/// The body of `POST /attempts/{execution}/{attempt}/environment/built`. Repeating it is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentBuilt {
    /// As it was asked for.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub key: String,
    /// The committed blob that it is packed in.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: String,
    /// Its size.
    pub size_bytes: u64,
}

/// The body of `POST /attempts/{execution}/{attempt}/preparing`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Preparing {
    /// What is done before the script starts, in one sentence for people; absent once it runs.
    #[schema(max_length = 512)]
    pub sentence: Option<String>,
    /// Exactly which container image it runs in; absent without one, or when it was said before.
    #[serde(default)]
    #[schema(max_length = 512)]
    pub image: Option<String>,
}

/// How an attempt came by its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentOriginBody {
    /// It was built for this attempt, or could not be.
    Built,
    /// Its worker had it already.
    Kept,
    /// Another worker had built it, and this one fetched that.
    Fetched,
}

impl From<EnvironmentOrigin> for EnvironmentOriginBody {
    fn from(origin: EnvironmentOrigin) -> Self {
        match origin {
            EnvironmentOrigin::Built => Self::Built,
            EnvironmentOrigin::Kept => Self::Kept,
            EnvironmentOrigin::Fetched => Self::Fetched,
        }
    }
}

impl From<EnvironmentOriginBody> for EnvironmentOrigin {
    fn from(origin: EnvironmentOriginBody) -> Self {
        match origin {
            EnvironmentOriginBody::Built => Self::Built,
            EnvironmentOriginBody::Kept => Self::Kept,
            EnvironmentOriginBody::Fetched => Self::Fetched,
        }
    }
}

/// The body of `POST /attempts/{execution}/{attempt}/environment/log`. Repeating it is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TellEnvironmentLog {
    /// Where it came from.
    pub origin: EnvironmentOriginBody,
    /// The end of what was said while it was built, at most 64 KiB; absent where that is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Bytes64>,
}

/// The answer to `GET /executions/{id}/environment/log`: of the newest attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum EnvironmentLog {
    /// Nothing is to be installed for the execution.
    NoPackages,
    /// No attempt has begun with it.
    Waiting,
    /// Its packages are being installed.
    Installing,
    /// The attempt did not tell, or has not yet.
    Untold,
    /// The attempt has its environment, or failed to build it.
    Told {
        /// Where it came from.
        origin: EnvironmentOriginBody,
        /// The end of what was said while it was built; absent where that is not kept.
        #[serde(default)]
        log: Option<Bytes64>,
    },
}

impl EnvironmentLog {
    /// What is answered about an installation; `log` is there when it says so.
    pub fn new(installation: Installation, log: Option<Vec<u8>>) -> Self {
        match installation {
            Installation::NoPackages => Self::NoPackages,
            Installation::Waiting => Self::Waiting,
            Installation::Installing => Self::Installing,
            Installation::Untold => Self::Untold,
            Installation::Told(origin, _) => Self::Told { origin: origin.into(), log: log.map(Bytes64) },
        }
    }

    /// Where the installation stands.
    pub fn installation(&self) -> Installation {
        match self {
            Self::NoPackages => Installation::NoPackages,
            Self::Waiting => Installation::Waiting,
            Self::Installing => Installation::Installing,
            Self::Untold => Installation::Untold,
            Self::Told { origin, log } => Installation::Told((*origin).into(), HasLog::of(log.as_ref())),
        }
    }
}
