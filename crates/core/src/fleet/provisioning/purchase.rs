//! Which servers to buy: for what waits and would still wait when a server ordered now could be up. The largest
//! classes are placed first, on what is there, on what is on its way, on what running work is expected to leave, and
//! at last on new servers.

use std::time::Duration;

use crate::Timestamp;
use crate::fleet::forecast::{Expected, Kind};
use crate::fleet::ladder::{self, Cell};
use crate::fleet::provisioning::{Decision, Note, Outlook, Room, standing};
use crate::fleet::{Action, FleetPolicy, FleetView, Order, Reason, ServerView, WorkerView, since};
use crate::money::Micros;
use crate::worker::{Capacity, WorkerStatus};
use crate::{guards, limits};

/// Cells of a ladder that an explanation carries.
const CELLS_TOLD_MAX: usize = 16;

/// What waits, of one size.
#[derive(Debug)]
struct Class {
    wanted: Capacity,
    /// The kind of most of it.
    kind: Kind,
    executions: u32,
    impatient: u32,
    /// Of `executions`, what no place was found for.
    left: u32,
    /// Starts that are expected beside the places found.
    expected: Expected,
}

impl Class {
    /// For how many a server is wanted, if none is expected to be free.
    fn impatient_left(&self) -> u32 {
        // The oldest are given places first.
        self.impatient.saturating_sub(self.executions - self.left)
    }

    /// For how many a server is wanted.
    fn need(&self) -> u32 {
        let left = f64::from(self.impatient_left());
        let sure = self.expected.starts - limits::FORECAST_DEVIATIONS * self.expected.variance.sqrt();
        (left - sure.max(0.0)).ceil().max(0.0) as u32
    }
}

/// What waits by size, the largest first.
fn classes(view: &FleetView) -> Vec<Class> {
    let mut lanes: Vec<_> = view.demand.iter().filter(|demand| demand.executions > 0).collect();
    let size = |wanted: &Capacity| (wanted.cpu_millis, wanted.memory_bytes, wanted.disk_bytes);
    lanes.sort_by_key(|lane| std::cmp::Reverse((size(&lane.wanted), lane.executions)));
    let mut classes: Vec<Class> = Vec::new();
    for lane in lanes {
        match classes.last_mut() {
            Some(class) if class.wanted == lane.wanted => {
                class.executions = class.executions.saturating_add(lane.executions);
                class.impatient = class.impatient.saturating_add(lane.impatient);
                class.left = class.executions;
            }
            Some(_) | None => classes.push(Class {
                wanted: lane.wanted,
                kind: lane.kind,
                executions: lane.executions,
                impatient: lane.impatient.min(lane.executions),
                left: lane.executions,
                expected: Expected::default(),
            }),
        }
    }
    classes
}

/// Plans the purchase.
pub(super) fn decide(view: &FleetView, policy: &FleetPolicy, now: Timestamp) -> Decision {
    let mut classes = classes(view);
    if classes.is_empty() {
        return Decision::default();
    }
    let on_the_way = fill_workers(&mut classes, view, policy, now);
    expect(&mut classes, view, policy, now);
    let waiting = classes.iter().map(|class| class.executions).fold(0, u32::saturating_add);
    let left = classes.iter().map(|class| class.left).fold(0, u32::saturating_add);
    let needed = classes.iter().any(|class| class.need() > 0);

    let mut notes = Vec::new();
    let mut orders = Vec::new();
    if needed {
        match ladder::closed(view, now) {
            Some(closed) => notes.push(Note::Closed(closed)),
            None => orders = buy(&mut classes, view, policy, now, &mut notes),
        }
    } else if left > 0 {
        let patient = classes.iter().all(|class| class.impatient_left() == 0);
        notes.push(if patient { Note::Patient(policy.patience) } else { Note::SoonFree });
    }
    if on_the_way > 0 {
        notes.push(Note::OnTheWay { places: on_the_way });
    }
    let standing = standing(view) + orders.len() as u32;
    let reason = Reason::Waiting { executions: waiting, places: waiting - left };
    Decision {
        actions: orders.into_iter().map(|order| (Action::AddServer(order), reason.clone())).collect(),
        outlook: (!notes.is_empty()).then_some(Outlook {
            notes,
            workers: standing,
            workers_max: policy.workers_max,
        }),
    }
}

/// When a worker on its way is expected; `None` for one that is there, or takes no work.
fn expected_up(worker: &WorkerView, policy: &FleetPolicy, now: Timestamp) -> Duration {
    match worker.status {
        WorkerStatus::Provisioning => policy.servers.boot.saturating_sub(since(now, worker.created_at)),
        WorkerStatus::Active
        | WorkerStatus::Draining
        | WorkerStatus::Dead
        | WorkerStatus::Failed
        | WorkerStatus::Terminating
        | WorkerStatus::Terminated => Duration::ZERO,
    }
}

/// Places what waits on workers that are there or on their way, and says how many places are on the way.
fn fill_workers(classes: &mut [Class], view: &FleetView, policy: &FleetPolicy, now: Timestamp) -> u32 {
    let mut on_the_way = 0;
    let takes_work = |status| match status {
        WorkerStatus::Provisioning => guards::holds(&guards::ON_THE_WAY_COUNTS),
        WorkerStatus::Active => true,
        WorkerStatus::Draining
        | WorkerStatus::Dead
        | WorkerStatus::Failed
        | WorkerStatus::Terminating
        | WorkerStatus::Terminated => false,
    };
    for worker in view.workers.iter().filter(|worker| takes_work(worker.status)) {
        let mut room = Room::of(worker);
        let mut open = false;
        for class in classes.iter_mut().filter(|class| class.left > 0) {
            open = true;
            if room.slots == 0 {
                break;
            }
            let taken = room.take(&class.wanted, class.left);
            class.left -= taken;
            if taken > 0 {
                let up = expected_up(worker, policy, now);
                let again = view.history.again(class.kind, up, policy.servers.boot);
                class.expected.starts += again.starts * f64::from(taken);
                class.expected.variance += again.variance * f64::from(taken);
            }
            if worker.status == WorkerStatus::Provisioning {
                on_the_way += taken;
            }
        }
        if !open {
            break;
        }
    }
    on_the_way
}

/// Adds the starts that running work is expected to make room for before a server ordered now could be up.
fn expect(classes: &mut [Class], view: &FleetView, policy: &FleetPolicy, now: Timestamp) {
    // Known per class, and anew for one that changes: with thousands that run it is asked often.
    let mut needs: Vec<u32> = classes.iter().map(Class::need).collect();
    for running in &view.running {
        let fits = |at: &usize| needs[*at] > 0 && running.held.holds(&classes[*at].wanted);
        let Some(at) = (0..classes.len()).find(fits) else {
            if needs.iter().all(|need| *need == 0) {
                return;
            }
            continue;
        };
        let class = &mut classes[at];
        let more = view.history.after(running, class.kind, policy.servers.boot, now);
        class.expected.starts += more.starts;
        class.expected.variance += more.variance;
        needs[at] = class.need();
    }
}

/// Orders for what is needed, as far as limits allow; says what keeps it from more.
fn buy(
    classes: &mut [Class],
    view: &FleetView,
    policy: &FleetPolicy,
    now: Timestamp,
    notes: &mut Vec<Note>,
) -> Vec<Order> {
    let ladder = ladder::cells(&view.market, &policy.servers, now);
    let per_hour: Micros = view.workers.iter().filter_map(server).map(|server| server.price.hour()).sum();
    let mut purse = Purse {
        workers: policy.workers_max.saturating_sub(standing(view)),
        orders: ladder::orders_max(view, policy),
        per_hour,
        month: view.market.spent_this_month,
    };
    let mut orders: Vec<Order> = Vec::new();
    let mut passed = Vec::new();
    for at in 0..classes.len() {
        if classes[at].need() == 0 {
            continue;
        }
        let wanted = classes[at].wanted;
        let holding = || ladder.iter().filter(|cell| cell.order.capacity.holds(&wanted));
        let Some(cell) = holding().find(|cell| cell.bar.is_none()) else {
            let barred: Vec<Cell> = holding().take(CELLS_TOLD_MAX).cloned().collect();
            notes.push(if barred.is_empty() { Note::NothingHolds } else { Note::AllBarred(barred) });
            continue;
        };
        while classes[at].need() > 0 {
            if let Err(empty) = purse.pay(&cell.order, policy) {
                notes.extend(empty.note());
                break;
            }
            if orders.is_empty() {
                passed =
                    holding().take_while(|cell| cell.bar.is_some()).take(CELLS_TOLD_MAX).cloned().collect();
            }
            orders.push(cell.order.clone());
            let mut room = Room { free: cell.order.capacity, slots: cell.order.slots };
            for class in &mut classes[at..] {
                class.left -= room.take(&class.wanted, class.left);
            }
        }
    }
    if let Some(order) = orders.first().cloned() {
        notes.insert(0, Note::Ordering { order, servers: orders.len() as u32, passed });
    }
    notes.dedup();
    orders
}

fn server(worker: &WorkerView) -> Option<&ServerView> {
    worker.server.as_ref()
}

/// What may still be ordered.
struct Purse {
    workers: u32,
    orders: u32,
    per_hour: Micros,
    month: Micros,
}

/// What keeps from one more order.
enum Empty {
    Workers,
    /// The one order of a trial is placed.
    Trial,
    Hour(Micros),
    Month(Micros),
}

impl Empty {
    fn note(&self) -> Option<Note> {
        match self {
            Self::Workers => Some(Note::WorkersMax),
            Self::Trial => None,
            Self::Hour(limit) => Some(Note::SpendPerHour(*limit)),
            Self::Month(limit) => Some(Note::SpendPerMonth(*limit)),
        }
    }
}

impl Purse {
    /// Takes one server out, or says why not.
    fn pay(&mut self, order: &Order, policy: &FleetPolicy) -> Result<(), Empty> {
        let hour = order.price.hour();
        let servers = &policy.servers;
        if self.workers == 0 && guards::holds(&guards::SERVERS_MAX) {
            return Err(Empty::Workers);
        }
        if self.orders == 0 {
            return Err(Empty::Trial);
        }
        let over_hour = servers.spend_per_hour_max.filter(|max| self.per_hour + hour > *max);
        if let Some(limit) = over_hour.filter(|_| guards::holds(&guards::SPEND_PER_HOUR)) {
            return Err(Empty::Hour(limit));
        }
        let over_month = servers.spend_per_month_max.filter(|max| self.month + hour > *max);
        if let Some(limit) = over_month.filter(|_| guards::holds(&guards::SPEND_PER_MONTH)) {
            return Err(Empty::Month(limit));
        }
        self.workers = self.workers.saturating_sub(1);
        self.orders -= 1;
        self.per_hour = self.per_hour + hour;
        self.month = self.month + hour;
        Ok(())
    }
}
