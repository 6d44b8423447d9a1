//! Whose a container is: a process of this machine, by its number and its start, in a label. What is of a
//! runner that has ended is removed by the next one to start, whosever that is.

use std::fs;

use super::super::SandboxError;
use super::engine::Engine;

/// The label.
pub(super) const LABEL: &str = "rgrid.owner";

/// This process: number, start in ticks since the machine's, name space of numbers.
pub(super) fn ourselves() -> String {
    let pid = std::process::id();
    format!("{pid} {} {}", started(pid).unwrap_or(0), number_space())
}

/// Which numbers of processes we see.
fn number_space() -> String {
    fs::read_link("/proc/self/ns/pid").map_or_else(|_| "?".to_owned(), |link| link.display().to_string())
}

/// When a process started; `None` when there is none of that number.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything, come the state and so on: the start is field 22 of all.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Whether an owner has ended. One whose numbers we do not see is taken to live.
fn has_ended(owner: &str) -> bool {
    let mut words = owner.split(' ');
    let (Some(pid), Some(start), Some(space)) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let (Ok(pid), Ok(start)) = (pid.parse(), start.parse::<u64>()) else { return false };
    space == number_space() && started(pid) != Some(start)
}

/// Removes what runners left that have ended.
pub(super) async fn remove_left_over(engine: &Engine) -> Result<(), SandboxError> {
    for (id, owner) in engine.containers_with(LABEL).await? {
        if has_ended(&owner) {
            tracing::info!(id, owner, "removing a container of a runner that was killed");
            engine.remove(&id).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_lives_while_its_process_does_and_a_new_one_of_its_number_is_another() {
        let ours = ourselves();
        assert!(!has_ended(&ours));
        let mut words: Vec<String> = ours.split(' ').map(str::to_owned).collect();
        words[1] = "1".to_owned();
        assert!(has_ended(&words.join(" ")));
        words[2] = "pid:[1]".to_owned();
        assert!(!has_ended(&words.join(" ")), "of another number space");
        assert!(!has_ended("nonsense"));
    }
}
