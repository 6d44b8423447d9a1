//! A server's life: what each action does to it when it begins and when it ends, and what its guest does by itself.

use chrono::{DateTime, TimeDelta, Utc};

use crate::actions::{Progress, Work};
use crate::agenda::Event;
use crate::catalog::ImageState;
use crate::fates::Fate;
use crate::guests::Order;
use crate::ledger::Billed;
use crate::servers::{Guest, Server, Status};
use crate::world::{Grave, World};

/// Servers that are gone and can still be shown to a stale list.
const GRAVES_MAX: usize = 1000;

impl Server {
    fn failing(&self, work: Work) -> Option<String> {
        let doomed = self.fates.iter().find_map(|fate| {
            if let Fate::CreateFails { code } = fate
                && work == Work::Create
            {
                return Some(code);
            }
            if let Fate::StartFails { code } = fate
                && work == Work::Start
            {
                return Some(code);
            }
            None
        });
        doomed.cloned()
    }

    fn sticks(&self, work: Work) -> bool {
        let doomed = |one: Work, fate: &Fate| work == one && self.fates.contains(fate);
        doomed(Work::Create, &Fate::CreateSticks) || doomed(Work::Start, &Fate::StartSticks)
    }
}

impl World {
    /// An action's turn has come.
    pub(crate) fn begin_work(&mut self, p: usize, action: i64) {
        let (work, id) = {
            let action = self.action_mut(p, action);
            (action.work, action.server)
        };
        let Some(server) = id.and_then(|id| self.server_mut(p, id)) else { return };
        match work {
            Work::Start if server.status == Status::Off => server.status = Status::Starting,
            Work::Stop if server.status == Status::Running => server.status = Status::Stopping,
            Work::Rebuild => server.status = Status::Rebuilding,
            Work::Delete => server.status = Status::Deleting,
            Work::Start
            | Work::Stop
            | Work::Create
            | Work::Shutdown
            | Work::Reboot
            | Work::Reset
            | Work::Attach
            | Work::Detach
            | Work::CreateImage { .. }
            | Work::Protect
            | Work::Nothing => {}
        }
        if server.sticks(work) {
            self.stick_action(p, action);
        } else {
            let lasts = self.timings.of(work, &mut self.dice);
            self.begin_action(p, action, lasts);
        }
    }

    fn end_work(&mut self, p: usize, action: i64) {
        let (work, id, next) = {
            let action = self.action_mut(p, action);
            if !matches!(action.progress, Progress::Running { .. }) {
                return;
            }
            (action.work, action.server, action.next)
        };
        let Some(server) = id.and_then(|id| self.server_mut(p, id)) else {
            return self.finish_action(p, action, None);
        };
        if let Some(code) = server.failing(work) {
            if work == Work::Start {
                server.status = Status::Off;
            }
            return self.finish_action(p, action, Some(&code));
        }
        let id = server.id;
        match work {
            Work::Create => server.status = Status::Off,
            Work::Start => self.power_on(p, id),
            Work::Stop => self.power_off(p, id),
            Work::Shutdown => self.press_button(p, id),
            Work::Reboot | Work::Reset if server.status == Status::Running => self.power_on(p, id),
            Work::Rebuild => self.power_on(p, id),
            Work::CreateImage { image } => {
                if let Some(image) = self.projects[p].images.get_mut(&image) {
                    image.state = ImageState::Available;
                }
            }
            Work::Reboot
            | Work::Reset
            | Work::Attach
            | Work::Detach
            | Work::Protect
            | Work::Delete
            | Work::Nothing => {}
        }
        self.finish_action(p, action, None);
        if let Some(next) = next {
            self.begin_work(p, next);
        }
    }

    /// Power comes on, or comes back: the guest boots.
    pub(crate) fn power_on(&mut self, p: usize, id: i64) {
        let boots_in = self.timings.boot(&mut self.dice);
        let up = self.now + boots_in;
        let Some(server) = self.server_mut(p, id) else { return };
        let again = server.guest != Guest::Off;
        server.status = Status::Running;
        server.guest = Guest::Booting;
        server.cut_off = false;
        server.boot += 1;
        let (boot, boots) = (server.boot, !server.fates.contains(&Fate::NeverBoots));
        if again {
            self.order(Order::Stop { server: id });
        }
        if boots {
            self.order(Order::Start { project: p, server: id });
            self.agenda.put(up, Event::GuestUp { project: p, server: id, boot });
        }
    }

    pub(crate) fn power_off(&mut self, p: usize, id: i64) {
        let Some(server) = self.server_mut(p, id) else { return };
        server.status = Status::Off;
        server.guest = Guest::Off;
        server.boot += 1;
        self.order(Order::Stop { server: id });
    }

    /// A guest obeys the button after a while, unless it is not up or ignores it.
    fn press_button(&mut self, p: usize, id: i64) {
        let at = self.now + self.timings.shutdown();
        let Some(server) = self.server_mut(p, id) else { return };
        let obeys = server.guest == Guest::Up && !server.fates.contains(&Fate::IgnoresAcpi);
        let boot = server.boot;
        if obeys {
            self.agenda.put(at, Event::GuestShutsDown { project: p, server: id, boot });
        }
    }

    fn guest_up(&mut self, p: usize, id: i64, boot: u64) {
        let now = self.now;
        let Some(server) = self.server_mut(p, id).filter(|server| server.boot == boot) else { return };
        server.guest = Guest::Up;
        let mut coming = Vec::new();
        let after = |seconds: u32| now + TimeDelta::seconds(i64::from(seconds));
        for fate in &server.fates {
            match fate {
                Fate::DiesAfter { seconds } => {
                    coming.push((after(*seconds), Event::GuestDies { project: p, server: id, boot }));
                }
                Fate::CutOffAfter { seconds } => {
                    coming.push((after(*seconds), Event::GuestCutOff { project: p, server: id, boot }));
                }
                Fate::PowerFailsAfter { seconds } => {
                    coming.push((after(*seconds), Event::PowerFails { project: p, server: id }));
                }
                Fate::CreateFails { .. }
                | Fate::StartFails { .. }
                | Fate::CreateSticks
                | Fate::StartSticks
                | Fate::CreateVanishes
                | Fate::NeverBoots
                | Fate::MetadataDown
                | Fate::IgnoresAcpi => {}
            }
        }
        for (at, event) in coming {
            self.agenda.put(at, event);
        }
    }

    /// From the acceptance of a deletion on it costs nothing more; when it is gone, so are its own addresses.
    pub(crate) fn accept_deletion(&mut self, p: usize, id: i64) {
        self.ledger.close(Billed::Server, id, self.now);
        for ip in self.projects[p].primary_ips.values() {
            if ip.server == Some(id) && ip.auto_delete {
                self.ledger.close(Billed::PrimaryIpv4, ip.id, self.now);
            }
        }
        self.order(Order::Remove { server: id });
        if let Some(server) = self.server_mut(p, id) {
            server.status = Status::Deleting;
            server.guest = Guest::Off;
            server.boot += 1;
        }
    }

    pub(crate) fn bury(&mut self, p: usize, id: i64) {
        let Some(server) = self.projects[p].servers.remove(&id) else { return };
        let shown = self.show_server(p, &server);
        let of = &mut self.projects[p];
        of.graves.push_back(Grave { created: server.created, gone: self.now, shown });
        if of.graves.len() > GRAVES_MAX {
            of.graves.pop_front();
        }
        of.primary_ips.retain(|_, ip| ip.server != Some(id) || !ip.auto_delete);
        for ip in of.primary_ips.values_mut().filter(|ip| ip.server == Some(id)) {
            ip.server = None;
        }
    }

    /// Lets an event happen, at its time.
    pub(crate) fn happen(&mut self, at: DateTime<Utc>, event: Event) {
        self.now = self.now.max(at);
        match event {
            Event::ActionEnds { project, action } => self.end_work(project, action),
            Event::ActionLetsGo { project, action } => self.let_all_go(project, action),
            Event::GuestUp { project, server, boot } => self.guest_up(project, server, boot),
            Event::GuestDies { project, server, boot } => {
                let of = |server: &&mut Server| server.boot == boot;
                if let Some(found) = self.server_mut(project, server).filter(of) {
                    found.guest = Guest::Dead;
                    self.order(Order::Stop { server });
                }
            }
            Event::GuestCutOff { project, server, boot } => {
                let of = |server: &&mut Server| server.boot == boot;
                if let Some(found) = self.server_mut(project, server).filter(of) {
                    found.cut_off = true;
                    self.order(Order::CutOff { server });
                }
            }
            Event::GuestShutsDown { project, server, boot } => {
                if self.server_mut(project, server).is_some_and(|server| server.boot == boot) {
                    self.power_off(project, server);
                }
            }
            Event::PowerFails { project, server } => {
                if self.server_mut(project, server).is_some_and(|found| found.status == Status::Running) {
                    self.power_off(project, server);
                }
            }
            Event::ServerGone { project, server } => self.bury(project, server),
            Event::Commit(call) => self.commit(&call),
            Event::InStock { server_type, location } => self.set_available(&server_type, &location, true),
        }
    }
}
