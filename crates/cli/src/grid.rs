//! Which grid a command speaks to, and the seam to the one that lives on this machine.

use std::future::Future;
use std::path::PathBuf;

use rgrid_core::runtime::SandboxKind;

use crate::credentials;
use crate::errors::Error;

/// Where a grid answers, and the key to present there.
#[derive(Clone, PartialEq, Eq)]
pub struct GridAddress {
    /// Scheme, host and port.
    pub url: String,
    /// `rg_...`
    pub key: String,
}

/// The key is a secret: it stands in no debug output.
impl std::fmt::Debug for GridAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GridAddress").field("url", &self.url).finish_non_exhaustive()
    }
}

/// One thing that `rgrid doctor` looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in a few words: `bubblewrap`, `PostgreSQL`.
    pub what: String,
    /// What was found.
    pub health: Health,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It is as it should be; the text says what was found.
    Good(String),
    /// It works, with a restriction that the text names.
    Limited(String),
    /// It does not work.
    Bad {
        /// What is wrong, in a sentence.
        problem: String,
        /// What to do about it, in a sentence.
        fix: String,
    },
}

/// The person who waits for the grid of this machine.
pub trait Audience {
    /// Tells a sentence.
    fn say(&self, sentence: &str);

    /// So many bytes are to come; a bar shows how many have, where there is a terminal for it.
    fn transfer(&self, verb: &'static str, total_bytes: u64);

    /// So many bytes more have come.
    fn advance(&self, bytes: u64);

    /// The bar goes.
    fn clear(&self);
}

/// The grid that lives on this machine. The binary implements it: it alone has the parts of a grid at hand.
pub trait EmbeddedGrid {
    /// Its address if it runs now. Starts nothing.
    fn find(&self) -> impl Future<Output = Option<GridAddress>>;

    /// Its address, and starts it first if it does not run. While that takes long, `audience` is told what happens.
    /// Cheap when it runs: this is on the path of every command.
    fn ensure(&self, audience: &dyn Audience) -> impl Future<Output = Result<GridAddress, anyhow::Error>>;

    /// What isolates scripts there that name no image, as far as it is known now: with nothing known it is the process sandbox,
    /// and the start of the grid may find otherwise. `audience` is told once why it is containers, if nobody asked for them.
    /// Cheap: this is on the path of every run.
    ///
    /// # Errors
    /// When containers are asked for and cannot be had.
    fn sandbox(&self, audience: &dyn Audience) -> Result<SandboxKind, anyhow::Error>;

    /// uv, which chooses the versions of packages: the one on PATH, else one that is fetched once.
    fn uv(&self, audience: &dyn Audience) -> impl Future<Output = Result<PathBuf, anyhow::Error>>;

    /// Looks at everything that the embedded grid needs. Starts nothing.
    fn doctor(&self) -> Vec<Check>;

    /// The whole command line as the binary has it, for `rgrid completions`.
    fn command_line(&self) -> clap::Command;
}

/// Why a grid is the one that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `--profile` names it.
    Profile(String),
    /// RGRID_URL and RGRID_API_KEY are set.
    Environment,
    /// The default profile of the credentials file.
    Credentials,
    /// Nothing is configured: it is the one of this machine.
    Embedded,
}

/// What decides which grid is used (DESIGN section 5).
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    /// `--profile`
    pub profile: Option<String>,
    /// RGRID_URL, unless empty.
    pub url: Option<String>,
    /// RGRID_API_KEY, unless empty.
    pub key: Option<String>,
    /// The credentials file, if there is a home folder.
    pub credentials: Option<PathBuf>,
}

impl Wishes {
    /// Those of this process.
    pub(crate) fn look(profile: Option<&str>) -> Self {
        let text = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        Self {
            profile: profile.map(str::to_owned),
            url: text("RGRID_URL"),
            key: text("RGRID_API_KEY"),
            credentials: credentials::path().ok(),
        }
    }

    /// The grid to use, and why; no address when it is the one of this machine.
    pub(crate) fn choose(&self) -> Result<(Origin, Option<GridAddress>), Error> {
        if let Some(name) = &self.profile {
            let path = self.credentials.as_deref().ok_or(Error::NoHome)?;
            return match credentials::read(path, name)? {
                Some(address) => Ok((Origin::Profile(name.clone()), Some(checked(address)?))),
                None => Err(Error::NoProfile { name: name.clone(), known: credentials::profiles(path)? }),
            };
        }
        match (&self.url, &self.key) {
            (Some(url), Some(key)) => {
                let address = GridAddress { url: url.trim().to_owned(), key: key.trim().to_owned() };
                return Ok((Origin::Environment, Some(checked(address)?)));
            }
            (Some(_), None) => {
                return Err(Error::HalfConfigured { set: "RGRID_URL", missing: "RGRID_API_KEY" });
            }
            (None, Some(_)) => {
                return Err(Error::HalfConfigured { set: "RGRID_API_KEY", missing: "RGRID_URL" });
            }
            (None, None) => {}
        }
        let address = match &self.credentials {
            Some(path) => credentials::read(path, credentials::DEFAULT_PROFILE)?,
            None => None,
        };
        match address {
            Some(address) => Ok((Origin::Credentials, Some(checked(address)?))),
            None => Ok((Origin::Embedded, None)),
        }
    }
}

/// An address with its trailing slash off; refused when it is none.
pub(crate) fn checked(address: GridAddress) -> Result<GridAddress, Error> {
    let url = address.url.trim_end_matches('/');
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Error::NotAnAddress { text: address.url });
    }
    Ok(GridAddress { url: url.to_owned(), key: address.key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes() -> (tempfile::TempDir, Wishes) {
        let home = tempfile::tempdir().unwrap();
        let credentials = Some(home.path().join("credentials"));
        (home, Wishes { credentials, ..Wishes::default() })
    }

    fn address(url: &str) -> GridAddress {
        GridAddress { url: url.to_owned(), key: "rg_k".to_owned() }
    }

    #[test]
    fn a_profile_beats_the_environment_which_beats_the_file_which_beats_this_machine() {
        let (_home, mut wishes) = wishes();
        assert_eq!(wishes.choose().unwrap(), (Origin::Embedded, None));
        let path = wishes.credentials.clone().unwrap();
        credentials::write(&path, "default", &address("https://file.example")).unwrap();
        credentials::write(&path, "work", &address("https://work.example")).unwrap();
        assert_eq!(wishes.choose().unwrap(), (Origin::Credentials, Some(address("https://file.example"))));
        (wishes.url, wishes.key) = (Some("http://env.example:8000/".to_owned()), Some("rg_k".to_owned()));
        assert_eq!(wishes.choose().unwrap(), (Origin::Environment, Some(address("http://env.example:8000"))));
        wishes.profile = Some("work".to_owned());
        assert_eq!(wishes.choose().unwrap().1, Some(address("https://work.example")));
        wishes.profile = Some("other".to_owned());
        assert!(
            matches!(wishes.choose(), Err(Error::NoProfile { known, .. }) if known == ["default", "work"])
        );
    }

    #[test]
    fn half_an_environment_is_refused() {
        let (_home, mut wishes) = wishes();
        wishes.url = Some("https://env.example".to_owned());
        assert!(matches!(wishes.choose(), Err(Error::HalfConfigured { missing: "RGRID_API_KEY", .. })));
    }

    #[test]
    fn an_address_needs_a_scheme_and_a_host() {
        for bad in ["grid.example", "ftp://grid.example", "https://", "https://a b"] {
            assert!(checked(address(bad)).is_err(), "{bad}");
        }
    }
}
