//! `GET /cost`: what executions cost, and what was paid for and not used.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use rgrid_api::cost::{AttemptCost, Cost, CostQuery, ExecutionCost, GridCost};
use rgrid_core::cost::{Used, split};
use rgrid_core::limits::PAGE_ITEMS;
use rgrid_core::money::Micros;
use rgrid_store::keys::Role;

use crate::auth::Member;
use crate::error::Refused;
use crate::parse::{Parameters, page_items};
use crate::routes::executions::resolve;
use crate::state::App;

/// The longest time that is counted at once.
const SINCE_MAX: TimeDelta = TimeDelta::days(400);

/// Show what executions cost
///
/// An attempt's share of a server's hour is what it asked for, for as long as it held it, of all that the server has;
/// rounded down. What nobody asked for is idle, and nobody's. Attempts on machines that no provider bills cost nothing.
#[utoipa::path(get, path = "/cost", tag = "executions", params(CostQuery),
    responses((status = 200, body = Cost)))]
pub(crate) async fn show(
    State(app): State<App>,
    member: Member,
    Parameters(query): Parameters<CostQuery>,
) -> Result<Json<Cost>, Refused> {
    let limit = page_items(query.limit, PAGE_ITEMS)? as usize;
    let now = app.store.now().await?;
    let only = match &query.execution {
        Some(text) => {
            let id = resolve(&app, member.account(), text).await?;
            Some(app.store.execution(member.account(), id).await?)
        }
        None => None,
    };
    // The hour in which it began may have begun before it.
    let made = only.as_ref().map(|row| row.created_at - TimeDelta::hours(1));
    let since = query.since.or(made).unwrap_or_else(|| first_of_month(now)).max(now - SINCE_MAX);
    let spent = app.store.spent(since).await?;
    let used: Vec<Used> = spent.attempts.iter().map(|attempt| attempt.used).collect();
    let split = split(&spent.lines, &used);
    let mut executions: Vec<ExecutionCost> = Vec::new();
    for (attempt, share) in spent.attempts.into_iter().zip(&split.shares) {
        let wanted = only.as_ref().is_none_or(|row| row.id == attempt.execution_id);
        if attempt.account_id != member.account() || !wanted {
            continue;
        }
        let id = attempt.execution_id.to_string();
        if executions.last().is_none_or(|last| last.id != id) {
            executions.push(ExecutionCost { id, name: attempt.name, micros: 0, attempts: Vec::new() });
        }
        if let Some(execution) = executions.last_mut() {
            execution.micros += share.0;
            execution.attempts.push(AttemptCost {
                number: attempt.number,
                server: attempt.server,
                cpu_millis: attempt.used.cpu_millis,
                from: attempt.used.from,
                to: attempt.used.to,
                micros: share.0,
            });
        }
    }
    let grid = (member.0.role == Role::Admin && only.is_none()).then(|| GridCost {
        billed_micros: spent.lines.iter().map(|line| line.amount).sum::<Micros>().0,
        charged_micros: split.shares.iter().copied().sum::<Micros>().0,
        idle_micros: split.idle.0,
    });
    let (executions_total, micros) =
        (executions.len() as u64, executions.iter().map(|execution| execution.micros).sum());
    executions.truncate(limit);
    Ok(Json(Cost { since, executions, executions_total, micros, grid }))
}

fn first_of_month(now: DateTime<Utc>) -> DateTime<Utc> {
    let first = NaiveDate::from_ymd_opt(now.year(), now.month(), 1);
    first.map_or(now, |first| first.and_time(chrono::NaiveTime::MIN).and_utc())
}
