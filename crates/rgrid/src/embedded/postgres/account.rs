//! Which account PostgreSQL runs under when we are root, which it refuses to be. Never the one that jobs run under:
//! the same uid could signal and trace the server.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User};

/// Our own system account.
const DEDICATED: &str = "rgrid";
/// Below this, accounts belong to the system and not to people (`login.defs`).
const SYSTEM_UIDS_BELOW: u32 = 1000;

/// An account that PostgreSQL can run under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
}

impl Account {
    fn of(user: User) -> Self {
        Self { name: user.name, uid: user.uid, gid: user.gid }
    }

    fn named(name: &str) -> Option<Self> {
        User::from_name(name).ok().flatten().filter(|user| !user.uid.is_root()).map(Self::of)
    }

    /// The owner of a data folder that is there, else a dedicated account (made if it can be), else `postgres`,
    /// else `nobody`.
    pub(crate) fn for_root(data: &Path) -> Option<Self> {
        let owner = std::fs::metadata(data).ok().map(|about| Uid::from_raw(about.uid()));
        // initdb and postgres want the uid to have an entry in the list of accounts.
        let owner = owner.filter(|uid| !uid.is_root()).and_then(|uid| User::from_uid(uid).ok().flatten());
        owner
            .map(Self::of)
            .or_else(dedicated)
            .or_else(|| Self::named("postgres"))
            .or_else(|| Self::named("nobody"))
    }
}

/// The dedicated account. A person who happens to be called so is left alone.
fn dedicated() -> Option<Account> {
    let is_system = |account: &Account| account.uid.as_raw() < SYSTEM_UIDS_BELOW;
    if let Some(account) = Account::named(DEDICATED) {
        return Some(account).filter(is_system);
    }
    let made = Command::new("useradd")
        .args(["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"])
        .args(["--shell", "/usr/sbin/nologin", "--comment", "RGrid's embedded PostgreSQL", DEDICATED])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // Whatever went wrong, another account will do.
    made.ok().filter(|status| status.success()).and_then(|_| Account::named(DEDICATED)).filter(is_system)
}
