//! What a server's disk is made from: the provider's own systems and apps, and snapshots of a project's servers.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::stamp;
use crate::labels::Labels;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ImageKind {
    System,
    App,
    Snapshot,
    Backup,
}

impl ImageKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::App => "app",
            Self::Snapshot => "snapshot",
            Self::Backup => "backup",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ImageState {
    Creating,
    Available,
}

impl ImageState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Available => "available",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Image {
    pub(crate) id: i64,
    /// None for snapshots and backups.
    pub(crate) name: Option<String>,
    pub(crate) kind: ImageKind,
    pub(crate) state: ImageState,
    pub(crate) description: String,
    pub(crate) disk_gb: u64,
    pub(crate) created: DateTime<Utc>,
    /// The server it was made from, and its name.
    pub(crate) created_from: Option<(i64, String)>,
    pub(crate) flavor: String,
    pub(crate) version: String,
    pub(crate) arm: bool,
    pub(crate) deprecated: Option<DateTime<Utc>>,
    pub(crate) labels: Labels,
    pub(crate) protected: bool,
}

/// Id of the x86 row (arm is the next), name, description, flavor, version, whether it is an app.
const ROWS: &[(i64, &str, &str, &str, &str, bool)] = &[
    (40_093_140, "docker-ce", "Docker CE", "ubuntu", "24.04", true),
    (114_690_387, "debian-12", "Debian 12", "debian", "12", false),
    (161_547_269, "ubuntu-24.04", "Ubuntu 24.04", "ubuntu", "24.04", false),
    (310_557_660, "debian-13", "Debian 13", "debian", "13", false),
    (345_612_008, "ubuntu-26.04", "Ubuntu 26.04", "ubuntu", "26.04", false),
    (15_512_617, "ubuntu-20.04", "Ubuntu 20.04", "ubuntu", "20.04", false),
];

pub(super) fn all() -> Vec<Image> {
    let date = |text: &str| text.parse::<DateTime<Utc>>().expect("dates of the table are well formed");
    let mut images = Vec::new();
    for &(id, name, description, flavor, version, is_app) in ROWS {
        for arm in [false, true] {
            images.push(Image {
                id: id + i64::from(arm),
                name: Some(name.to_owned()),
                kind: if is_app { ImageKind::App } else { ImageKind::System },
                state: ImageState::Available,
                description: description.to_owned(),
                disk_gb: 5,
                created: date("2026-05-01T08:00:00Z"),
                created_from: None,
                flavor: flavor.to_owned(),
                version: version.to_owned(),
                arm,
                deprecated: (name == "ubuntu-20.04").then(|| date("2025-05-31T00:00:00Z")),
                labels: Labels::new(),
                protected: false,
            });
        }
    }
    images.sort_by_key(|image| image.id);
    images
}

impl Image {
    pub(crate) fn architecture(&self) -> &'static str {
        if self.arm { "arm" } else { "x86" }
    }

    /// `with_old` shows the deprecation as it was shown in 2025.
    pub(crate) fn show(&self, with_old: bool) -> Value {
        let own = matches!(self.kind, ImageKind::Snapshot | ImageKind::Backup);
        let deprecated = self.deprecated.map(stamp);
        let from = self.created_from.as_ref().map(|(id, name)| json!({"id": id, "name": name}));
        let mut shown = json!({
            "id": self.id, "type": self.kind.as_str(), "status": self.state.as_str(), "name": self.name,
            "description": self.description, "disk_size": self.disk_gb, "created": stamp(self.created),
            "image_size": (own && self.state == ImageState::Available).then_some(1.5),
            "created_from": from, "bound_to": null, "os_flavor": self.flavor, "os_version": self.version,
            "architecture": self.architecture(), "rapid_deploy": self.kind == ImageKind::System,
            "protection": {"delete": self.protected}, "deleted": null, "labels": self.labels,
        });
        if with_old {
            shown["deprecated"] = deprecated.into();
        } else {
            shown["deprecation"] =
                deprecated.map(|at| json!({"announced": at, "unavailable_after": at})).into();
        }
        shown
    }
}
