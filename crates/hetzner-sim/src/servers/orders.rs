//! What is asked of a server that is there: its name and labels, its power, its networks, its end.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::actions::Work;
use crate::agenda::Event;
use crate::body::{Body, missing};
use crate::call::{Answer, Call};
use crate::catalog::{Image, ImageKind, ImageState};
use crate::errors::ApiError;
use crate::labels::Labels;
use crate::servers::create::{USER_DATA_BYTES_MAX, is_host_name};
use crate::servers::{Attachment, Server, Status};
use crate::world::World;

impl World {
    /// `PUT /servers/{id}`: name and labels; a lock does not keep them from being changed.
    pub(crate) fn update_server(&mut self, p: usize, id: &str, mut body: Body) -> Result<Answer, ApiError> {
        let id = self.server(p, id)?.id;
        let (name, labels) = (body.text("name")?, body.labels()?);
        body.end()?;
        if let Some(name) = &name {
            if !is_host_name(name) {
                return Err(ApiError::field("name", "Name must be a valid hostname."));
            }
            let other = |server: &&Server| server.id != id && server.name.eq_ignore_ascii_case(name);
            if self.projects[p].servers.values().any(|server| other(&server)) {
                return Err(ApiError::taken("server", "name", self.fields_on_conflict));
            }
        }
        if let Some(server) = self.server_mut(p, id) {
            if let Some(name) = name {
                server.name = name;
            }
            if let Some(labels) = labels {
                server.labels = labels;
            }
        }
        self.get_server(p, &id.to_string())
    }

    /// `DELETE /servers/{id}`: at once, whatever the power; not while it is locked or protected.
    pub(crate) fn delete_server(&mut self, p: usize, id: &str) -> Result<Answer, ApiError> {
        let server = self.server(p, id)?;
        if server.protected {
            return Err(ApiError::by_code("protected"));
        }
        let id = self.unlocked(server)?;
        let action = self.plan_action(p, Work::Delete, Some(id), &[]);
        self.end_actions_of(p, id, action);
        self.begin_work(p, action);
        self.accept_deletion(p, id);
        let stays = self.timings.deleting();
        if stays == TimeDelta::zero() {
            self.bury(p, id);
        } else {
            self.agenda.put(self.now + stays, Event::ServerGone { project: p, server: id });
        }
        Ok(Answer::ok(json!({"action": self.show_action(p, action)})))
    }

    fn unlocked(&self, server: &Server) -> Result<i64, ApiError> {
        if server.locks.is_empty() && server.status != Status::Deleting {
            return Ok(server.id);
        }
        Err(ApiError::by_code("locked"))
    }

    /// `POST /servers/{id}/actions/{order}`.
    pub(crate) fn order_server(
        &mut self,
        p: usize,
        id: &str,
        order: &str,
        call: &Call,
    ) -> Result<Answer, ApiError> {
        let server = self.server(p, id)?;
        let mut body = Body::new(call.json()?)?;
        match order {
            "poweron" => self.power(p, server.id, Work::Start, body),
            "poweroff" => self.power(p, server.id, Work::Stop, body),
            "shutdown" => self.power(p, server.id, Work::Shutdown, body),
            "reboot" => self.power(p, server.id, Work::Reboot, body),
            "reset" => self.power(p, server.id, Work::Reset, body),
            "create_image" => self.create_image(p, server.id, body),
            "rebuild" => self.rebuild(p, server.id, body),
            "attach_to_network" => self.attach_to_network(p, server.id, body),
            "detach_from_network" => self.detach_from_network(p, server.id, body),
            "change_protection" => {
                let id = self.unlocked(server)?;
                let (delete, rebuild) = (body.flag("delete")?, body.flag("rebuild")?);
                body.end()?;
                if delete.is_none() || rebuild.is_some_and(|rebuild| Some(rebuild) != delete) {
                    return Err(ApiError::field("delete", "delete and rebuild protection must be the same"));
                }
                if let (Some(server), Some(delete)) = (self.server_mut(p, id), delete) {
                    server.protected = delete;
                }
                Ok(self.begun(p, id, Work::Protect, &[]))
            }
            _ => Err(ApiError::not_found("action", order)),
        }
    }

    /// An action of this work, begun, as the answer to its request.
    fn begun(&mut self, p: usize, server: i64, work: Work, others: &[(i64, &str)]) -> Answer {
        let action = self.plan_action(p, work, Some(server), others);
        self.begin_work(p, action);
        Answer::created(json!({"action": self.show_action(p, action)}))
    }

    fn power(&mut self, p: usize, id: i64, work: Work, body: Body) -> Result<Answer, ApiError> {
        body.end()?;
        self.unlocked(&self.projects[p].servers[&id])?;
        Ok(self.begun(p, id, work, &[]))
    }

    fn create_image(&mut self, p: usize, id: i64, mut body: Body) -> Result<Answer, ApiError> {
        let kind = match body.text("type")?.as_deref() {
            None | Some("snapshot") => ImageKind::Snapshot,
            Some("backup") => ImageKind::Backup,
            Some(_) => return Err(ApiError::field("type", "must be snapshot or backup")),
        };
        let description = body.text("description")?.unwrap_or_default();
        let labels = body.labels()?.unwrap_or_default();
        body.end()?;
        let server = &self.projects[p].servers[&id];
        self.unlocked(server)?;
        let base = self.image(p, server.image);
        let (flavor, version) = base.map_or_else(Default::default, |i| (i.flavor.clone(), i.version.clone()));
        let server_type = self.catalog.type_of(server.server_type);
        let mut image = Image {
            id: 0,
            name: None,
            kind,
            state: ImageState::Creating,
            description,
            disk_gb: server_type.disk_gb,
            created: crate::world::whole_second(self.now),
            created_from: Some((id, server.name.clone())),
            flavor,
            version,
            arm: server_type.arm,
            deprecated: None,
            labels,
            protected: false,
        };
        image.id = self.next_id();
        let image_id = image.id;
        let shown = image.show(self.profile == crate::world::Profile::Compat2025);
        self.projects[p].images.insert(image_id, image);
        let mut answer = self.begun(p, id, Work::CreateImage { image: image_id }, &[(image_id, "image")]);
        if let Some(body) = &mut answer.body {
            body["image"] = shown;
        }
        Ok(answer)
    }

    fn rebuild(&mut self, p: usize, id: i64, mut body: Body) -> Result<Answer, ApiError> {
        let named = body.take("image").ok_or_else(|| missing("image"))?;
        let user_data = body.text("user_data")?;
        body.end()?;
        let server = &self.projects[p].servers[&id];
        self.unlocked(server)?;
        if server.protected {
            return Err(ApiError::by_code("protected"));
        }
        if user_data.as_ref().is_some_and(|data| data.len() > USER_DATA_BYTES_MAX) {
            return Err(ApiError::field("user_data", "Length must be between 0 and 32768."));
        }
        let server_type = self.catalog.type_of(server.server_type).clone();
        let image = self.find_image(p, &named, &server_type)?;
        if image.arm != server_type.arm {
            return Err(ApiError::field("image", "image architecture does not match"));
        }
        let image = image.id;
        let password = self.dice.hex(20);
        let with_password = self.projects[p].servers[&id].ssh_keys.is_empty();
        if let Some(server) = self.server_mut(p, id) {
            server.image = image;
            server.user_data = user_data.unwrap_or_else(|| server.user_data.clone());
        }
        let mut answer = self.begun(p, id, Work::Rebuild, &[(image, "image")]);
        if let Some(body) = &mut answer.body {
            body["root_password"] = if with_password { password.into() } else { Value::Null };
        }
        Ok(answer)
    }

    fn attach_to_network(&mut self, p: usize, id: i64, mut body: Body) -> Result<Answer, ApiError> {
        let network = body.id("network")?.ok_or_else(|| missing("network"))?;
        let (_, _) = (body.text("ip")?, body.list("alias_ips")?);
        body.end()?;
        let of = &self.projects[p];
        if !of.networks.contains_key(&network) {
            return Err(ApiError::names_nothing("network", &network.into()));
        }
        let server = &of.servers[&id];
        self.unlocked(server)?;
        if server.attachments.iter().any(|one| one.network == network) {
            let why = "server is already attached to network";
            return Err(ApiError::new(422, "server_already_attached", why, Value::Null));
        }
        self.attach(p, id, network);
        Ok(self.begun(p, id, Work::Attach, &[(network, "network")]))
    }

    fn detach_from_network(&mut self, p: usize, id: i64, mut body: Body) -> Result<Answer, ApiError> {
        let network = body.id("network")?.ok_or_else(|| missing("network"))?;
        body.end()?;
        let server = &self.projects[p].servers[&id];
        self.unlocked(server)?;
        if !server.attachments.iter().any(|one| one.network == network) {
            return Err(ApiError::names_nothing("network", &network.into()));
        }
        if let Some(server) = self.server_mut(p, id) {
            server.attachments.retain(|one| one.network != network);
        }
        Ok(self.begun(p, id, Work::Detach, &[(network, "network")]))
    }

    /// Gives a server the lowest free address of a network.
    pub(crate) fn attach(&mut self, p: usize, id: i64, network: i64) {
        let of = &self.projects[p];
        let Some(found) = of.networks.get(&network) else { return };
        let attached = of.servers.values().flat_map(|server| &server.attachments);
        let used: Vec<&str> =
            attached.filter(|one| one.network == network).map(|one| one.ip.as_str()).collect();
        let ip = found.free_address(&used);
        let digits = self.dice.hex(6);
        let mac = format!("86:00:ff:{}:{}:{}", &digits[..2], &digits[2..4], &digits[4..]);
        if let Some(server) = self.server_mut(p, id) {
            server.attachments.push(Attachment { network, ip, mac });
        }
    }

    /// What somebody else has made in the same project: a server that came by no request of ours.
    pub(crate) fn foreign_server(&mut self, p: usize, name: &str, labels: &Labels) -> Result<i64, ApiError> {
        let body = json!({"name": name, "server_type": "cpx12", "image": "debian-13", "location": "fsn1", "labels": labels});
        let answer = self.create_server(p, Body::new(body)?, &[])?;
        let id = answer.body.as_ref().and_then(|body| body["server"]["id"].as_i64());
        id.ok_or_else(|| ApiError::by_code("server_error"))
    }

    /// A deletion by somebody else, locks and protection notwithstanding.
    pub(crate) fn delete_behind(&mut self, p: usize, id: i64) -> Result<(), ApiError> {
        self.server(p, &id.to_string())?;
        self.end_actions_of(p, id, 0);
        self.accept_deletion(p, id);
        self.bury(p, id);
        Ok(())
    }
}
