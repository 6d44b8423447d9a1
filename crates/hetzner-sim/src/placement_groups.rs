//! Placement groups: servers that are to stand apart.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::Body;
use crate::call::{Answer, Call, stamp};
use crate::errors::ApiError;
use crate::labels::Labels;
use crate::listing::{self, Distortion};
use crate::world::World;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlacementGroup {
    pub(crate) id: i64,
    pub(crate) name: String,
    labels: Labels,
    created: DateTime<Utc>,
}

impl World {
    pub(crate) fn show_placement_group(&self, p: usize, group: &PlacementGroup) -> Value {
        let servers = self.projects[p].servers.values();
        let members: Vec<i64> = servers
            .filter(|server| server.placement_group == Some(group.id))
            .map(|server| server.id)
            .collect();
        json!({
            "id": group.id, "name": group.name, "labels": group.labels, "created": stamp(group.created),
            "servers": members, "type": "spread",
        })
    }

    fn placement_group(&self, p: usize, id: &str) -> Result<&PlacementGroup, ApiError> {
        let group = id.parse().ok().and_then(|id: i64| self.projects[p].placement_groups.get(&id));
        group.ok_or_else(|| ApiError::not_found("placement_group", id))
    }

    pub(crate) fn list_placement_groups(&self, p: usize, call: &Call) -> Result<Answer, ApiError> {
        let all = self.projects[p].placement_groups.values();
        let rows = all.map(|group| self.show_placement_group(p, group)).collect();
        listing::list(call, "placement_groups", rows, &["id", "name", "created"], Distortion::default())
    }

    pub(crate) fn get_placement_group(&self, p: usize, id: &str) -> Result<Answer, ApiError> {
        let group = self.placement_group(p, id)?;
        Ok(Answer::ok(json!({"placement_group": self.show_placement_group(p, group)})))
    }

    pub(crate) fn create_placement_group(&mut self, p: usize, mut body: Body) -> Result<Answer, ApiError> {
        let (name, kind) = (body.required_text("name")?, body.required_text("type")?);
        let labels = body.labels()?.unwrap_or_default();
        body.end()?;
        if kind != "spread" {
            return Err(ApiError::field("type", "must be spread"));
        }
        if self.projects[p].placement_groups.values().any(|group| group.name == name) {
            return Err(ApiError::taken("placement_group", "name", self.fields_on_conflict));
        }
        let id = self.next_id();
        let created = crate::world::whole_second(self.now);
        self.projects[p].placement_groups.insert(id, PlacementGroup { id, name, labels, created });
        let group = self.show_placement_group(p, &self.projects[p].placement_groups[&id]);
        Ok(Answer::created(json!({"placement_group": group, "action": null})))
    }

    pub(crate) fn update_placement_group(
        &mut self,
        p: usize,
        id: &str,
        mut body: Body,
    ) -> Result<Answer, ApiError> {
        let key = self.placement_group(p, id)?.id;
        let (name, labels) = (body.text("name")?, body.labels()?);
        body.end()?;
        if let Some(group) = self.projects[p].placement_groups.get_mut(&key) {
            group.name = name.unwrap_or_else(|| group.name.clone());
            group.labels = labels.unwrap_or_else(|| group.labels.clone());
        }
        self.get_placement_group(p, id)
    }

    pub(crate) fn delete_placement_group(&mut self, p: usize, id: &str) -> Result<Answer, ApiError> {
        let key = self.placement_group(p, id)?.id;
        self.projects[p].placement_groups.remove(&key);
        for server in self.projects[p].servers.values_mut() {
            server.placement_group = server.placement_group.filter(|group| *group != key);
        }
        Ok(Answer::empty())
    }
}
