//! Firewalls: their rules are kept and shown; nothing is filtered by them here.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::Body;
use crate::call::{Answer, Call, stamp};
use crate::errors::ApiError;
use crate::labels::Labels;
use crate::listing::{self, Distortion};
use crate::world::World;

/// Rules of one firewall.
const RULES_MAX: usize = 50;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Firewall {
    pub(crate) id: i64,
    pub(crate) name: String,
    labels: Labels,
    created: DateTime<Utc>,
    rules: Vec<Value>,
}

fn read_rule(rule: Value) -> Result<Value, ApiError> {
    let mut rule = Body::new(rule).map_err(|_| ApiError::field("rules", "must be objects"))?;
    let (direction, protocol) = (rule.required_text("direction")?, rule.required_text("protocol")?);
    let (port, description) = (rule.text("port")?, rule.text("description")?);
    let (sources, destinations) = (rule.list("source_ips")?, rule.list("destination_ips")?);
    rule.end()?;
    let has_port = matches!(protocol.as_str(), "tcp" | "udp");
    let known = has_port || matches!(protocol.as_str(), "icmp" | "esp" | "gre");
    if !matches!(direction.as_str(), "in" | "out") || !known || port.is_some() != has_port {
        return Err(ApiError::field("rules", "unknown direction or protocol, or a port where none can be"));
    }
    Ok(json!({
        "direction": direction, "protocol": protocol, "port": port, "description": description,
        "source_ips": sources, "destination_ips": destinations,
    }))
}

impl World {
    fn show_firewall(&self, p: usize, firewall: &Firewall) -> Value {
        let servers = self.projects[p].servers.values();
        let applied: Vec<Value> = servers
            .filter(|server| server.firewalls.contains(&firewall.id))
            .map(|server| json!({"type": "server", "server": {"id": server.id}}))
            .collect();
        json!({
            "id": firewall.id, "name": firewall.name, "labels": firewall.labels, "created": stamp(firewall.created),
            "rules": firewall.rules, "applied_to": applied,
        })
    }

    fn firewall(&self, p: usize, id: &str) -> Result<&Firewall, ApiError> {
        let firewall = id.parse().ok().and_then(|id: i64| self.projects[p].firewalls.get(&id));
        firewall.ok_or_else(|| ApiError::not_found("firewall", id))
    }

    pub(crate) fn list_firewalls(&self, p: usize, call: &Call) -> Result<Answer, ApiError> {
        let all = self.projects[p].firewalls.values();
        let rows = all.map(|firewall| self.show_firewall(p, firewall)).collect();
        listing::list(call, "firewalls", rows, &["id", "name", "created"], Distortion::default())
    }

    pub(crate) fn get_firewall(&self, p: usize, id: &str) -> Result<Answer, ApiError> {
        let firewall = self.firewall(p, id)?;
        Ok(Answer::ok(json!({"firewall": self.show_firewall(p, firewall)})))
    }

    pub(crate) fn create_firewall(&mut self, p: usize, mut body: Body) -> Result<Answer, ApiError> {
        let name = body.required_text("name")?;
        let labels = body.labels()?.unwrap_or_default();
        let rules = body.list("rules")?.into_iter().map(read_rule).collect::<Result<Vec<_>, _>>()?;
        let mut applied = Vec::new();
        for resource in body.list("apply_to")? {
            let id = resource["server"]["id"].as_i64().filter(|id| self.projects[p].servers.contains_key(id));
            applied.push(id.ok_or_else(|| ApiError::field("apply_to", "only servers that are there"))?);
        }
        body.end()?;
        if rules.len() > RULES_MAX {
            return Err(ApiError::field("rules", "at most 50 rules"));
        }
        if self.projects[p].firewalls.values().any(|firewall| firewall.name == name) {
            return Err(ApiError::taken("firewall", "name", self.fields_on_conflict));
        }
        let id = self.next_id();
        let created = crate::world::whole_second(self.now);
        self.projects[p].firewalls.insert(id, Firewall { id, name, labels, created, rules });
        for server in applied {
            if let Some(server) = self.server_mut(p, server) {
                server.firewalls.push(id);
            }
        }
        let firewall = self.show_firewall(p, &self.projects[p].firewalls[&id]);
        Ok(Answer::created(json!({"firewall": firewall, "actions": []})))
    }

    pub(crate) fn update_firewall(&mut self, p: usize, id: &str, mut body: Body) -> Result<Answer, ApiError> {
        let key = self.firewall(p, id)?.id;
        let (name, labels) = (body.text("name")?, body.labels()?);
        body.end()?;
        if let Some(firewall) = self.projects[p].firewalls.get_mut(&key) {
            firewall.name = name.unwrap_or_else(|| firewall.name.clone());
            firewall.labels = labels.unwrap_or_else(|| firewall.labels.clone());
        }
        self.get_firewall(p, id)
    }

    /// `DELETE /firewalls/{id}`: refused while it is applied.
    pub(crate) fn delete_firewall(&mut self, p: usize, id: &str) -> Result<Answer, ApiError> {
        let key = self.firewall(p, id)?.id;
        if self.projects[p].servers.values().any(|server| server.firewalls.contains(&key)) {
            return Err(ApiError::new(422, "resource_in_use", "firewall is still in use", Value::Null));
        }
        self.projects[p].firewalls.remove(&key);
        Ok(Answer::empty())
    }
}
