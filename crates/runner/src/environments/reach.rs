//! Where a build may go: the indexes and addresses of its lock, the hosts that files of these come from, and nowhere else
//! (SEMANTICS section 8). What a source package does while it is built, it does without the rest of the world.
//!
//! An index is free to keep its files elsewhere, and a lock names none of them: so when a build asks for a host that the
//! lock does not name, the indexes' own pages are read, once, for the hosts that they refer to. How a build gets there
//! is in `way`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, LOCATION, RANGE};
use reqwest::{Response, Url};
use tokio::sync::OnceCell;

use crate::guards;
use crate::sandbox::Forbidden;

/// What uv asks when a lock names no index.
const PUBLIC: &str = "https://pypi.org/simple";
/// Packages of which an index is asked for a page until one has files.
const PAGES_MAX: usize = 20;
/// What packages are built with: an index is asked for these when the lock has none of its own packages.
const BUILT_WITH: [&str; 4] = ["setuptools", "hatchling", "poetry-core", "flit-core"];
/// Bytes of a page that are read: where its files lie is seen in the first of them.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Redirections of one request that are followed.
const REDIRECTIONS_MAX: usize = 5;
/// One answer's head is there within this.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// All pages are read within this.
const LEARN_DEADLINE: Duration = Duration::from_secs(60);
/// Refused hosts that are remembered for the person.
const REFUSED_MAX: usize = 5;

/// A host and its port.
type Authority = (String, u16);

/// Where one build may go.
#[derive(Debug)]
pub(crate) struct Reach {
    named: HashSet<Authority>,
    /// Addresses of indexes, each ending with a slash.
    indexes: Vec<String>,
    /// Pages with links, and files, that the lock names.
    addresses: Vec<Url>,
    packages: Vec<String>,
    credentials: BTreeMap<String, String>,
    forbidden: Arc<Forbidden>,
    learnt: OnceCell<HashSet<Authority>>,
    refused: Mutex<BTreeSet<String>>,
}

impl Reach {
    /// What a lock lets its build reach; never what jobs may not.
    pub(crate) fn of(lock: &str, credentials: BTreeMap<String, String>, forbidden: Arc<Forbidden>) -> Self {
        let lock = lock.replace("\\\n", " ");
        let (mut indexes, mut addresses, mut packages) = (Vec::new(), Vec::new(), Vec::new());
        let mut has_index = false;
        for line in lock.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            let first = words.next().unwrap_or_default();
            match first {
                "--index-url" | "--extra-index-url" => {
                    has_index |= first == "--index-url";
                    indexes.extend(words.next().map(str::to_owned));
                }
                "--find-links" => addresses.extend(words.next().and_then(address)),
                _ => match line.split_whitespace().find_map(address) {
                    Some(own) => addresses.push(own),
                    None if !first.is_empty() && !first.starts_with('-') => packages.push(first.to_owned()),
                    None => {}
                },
            }
        }
        if !has_index {
            indexes.push(PUBLIC.to_owned());
        }
        for index in &mut indexes {
            index.truncate(index.trim_end_matches('/').len());
            index.push('/');
        }
        let places = indexes.iter().filter_map(|index| Url::parse(index).ok());
        let named = places.chain(addresses.iter().cloned()).filter_map(|url| authority(&url)).collect();
        let (learnt, refused) = (OnceCell::new(), Mutex::default());
        Self { named, indexes, addresses, packages, credentials, forbidden, learnt, refused }
    }

    /// Whether the build may talk to this host. The first question about one that the lock does not name takes as long as
    /// the indexes' pages.
    pub(crate) async fn allows(&self, host: &str, port: u16) -> bool {
        let asked = (host.trim_matches(['[', ']']).to_ascii_lowercase(), port);
        if self.named.contains(&asked) {
            return true;
        }
        if !guards::holds(&guards::BUILD_REACH) {
            return true;
        }
        let allowed = self.learnt.get_or_init(|| self.learn()).await.contains(&asked);
        if !allowed {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            if refused.len() < REFUSED_MAX {
                let (host, port) = asked;
                refused.insert(if port == 443 { host } else { format!("{host}:{port}") });
            }
        }
        allowed
    }

    /// Addresses of a host that may be connected to.
    pub(crate) async fn addresses_of(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        addresses_of(&self.forbidden, host, port).await
    }

    /// Hosts that the build asked for in vain.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Hosts to which the indexes' pages and the lock's addresses lead.
    async fn learn(&self) -> HashSet<Authority> {
        let reader = match Reader::new(self) {
            Ok(reader) => reader,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "pages of indexes cannot be read");
                return HashSet::new();
            }
        };
        let indexes = self.indexes.iter().map(|index| reader.index(index, &self.packages));
        let addresses = self.addresses.iter().map(|address| reader.follow(address.clone()));
        let read = futures_util::future::join(
            futures_util::future::join_all(indexes),
            futures_util::future::join_all(addresses),
        );
        if tokio::time::timeout(LEARN_DEADLINE, read).await.is_err() {
            tracing::warn!("the pages of indexes took longer than they may");
        }
        reader.seen.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a word that is an address on the web.
fn address(word: &str) -> Option<Url> {
    let from = word.find("http://").or_else(|| word.find("https://"))?;
    Url::parse(&word[from..]).ok()
}

fn authority(url: &Url) -> Option<Authority> {
    let host = url.host_str()?.trim_matches(['[', ']']).to_ascii_lowercase();
    Some((host, url.port_or_known_default()?))
}

async fn addresses_of(forbidden: &Forbidden, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let host = host.trim_matches(['[', ']']);
    let found = tokio::net::lookup_host((host, port)).await?;
    let allowed: Vec<SocketAddr> = found.filter(|address| !forbidden.holds(address.ip())).collect();
    if allowed.is_empty() {
        let words = format!("{host} is at no address that jobs may reach");
        return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, words));
    }
    Ok(allowed)
}

/// Looks names up for the reader, within what jobs may reach.
struct Names(Arc<Forbidden>);

impl reqwest::dns::Resolve for Names {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let forbidden = Arc::clone(&self.0);
        Box::pin(async move {
            let found = addresses_of(&forbidden, name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// Reads pages, and remembers every host that it was sent to.
struct Reader<'a> {
    reach: &'a Reach,
    http: reqwest::Client,
    seen: Mutex<HashSet<Authority>>,
}

impl<'a> Reader<'a> {
    fn new(reach: &'a Reach) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Names(Arc::clone(&reach.forbidden))))
            .user_agent(concat!("rgrid/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { reach, http, seen: Mutex::default() })
    }

    fn note(&self, url: &Url) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(authority(url));
    }

    /// Reads pages of an index until one has files: where they lie, and where these send on to.
    async fn index(&self, index: &str, packages: &[String]) {
        let packages = packages.iter().map(String::as_str).take(PAGES_MAX);
        for package in packages.chain(BUILT_WITH) {
            let Ok(page) = Url::parse(&format!("{index}{package}/")) else { continue };
            let links = self.links(page).await;
            links.iter().for_each(|link| self.note(link));
            if let Some(file) = links.into_iter().next_back() {
                self.follow(file).await;
                return;
            }
        }
    }

    /// What a page refers to.
    async fn links(&self, page: Url) -> Vec<Url> {
        let Some((mut answer, from)) = self.ask(page, false).await else { return Vec::new() };
        let mut bytes = Vec::new();
        while bytes.len() < PAGE_BYTES_MAX
            && let Ok(Ok(Some(piece))) = tokio::time::timeout(ANSWER_DEADLINE, answer.chunk()).await
        {
            bytes.extend_from_slice(&piece);
        }
        references(&String::from_utf8_lossy(&bytes)).filter_map(|link| from.join(link).ok()).collect()
    }

    /// Sees where an address leads.
    async fn follow(&self, address: Url) {
        drop(self.ask(address, true).await);
    }

    /// Asks, also where the answer sends on to. The body is not read yet.
    async fn ask(&self, mut url: Url, only_begin: bool) -> Option<(Response, Url)> {
        for _ in 0..=REDIRECTIONS_MAX {
            self.note(&url);
            // Names are looked up within bounds; an address needs no looking up.
            let literal = url.host_str()?.trim_matches(['[', ']']).parse::<IpAddr>();
            if literal.is_ok_and(|address| self.reach.forbidden.holds(address)) {
                return None;
            }
            let mut request = self.http.get(url.clone()).header(ACCEPT, "text/html, */*;q=0.1");
            if only_begin {
                request = request.header(RANGE, "bytes=0-0");
            }
            if let Some((user, password)) = self.credentials(&url) {
                request = request.basic_auth(user, Some(password));
            }
            let answer = tokio::time::timeout(ANSWER_DEADLINE, request.send()).await.ok()?.ok()?;
            let onwards = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            match onwards.filter(|_| answer.status().is_redirection()) {
                Some(to) => url = url.join(to).ok()?,
                None => return Some((answer, url)),
            }
        }
        None
    }

    /// Name and password of a host: nobody else is told them.
    fn credentials(&self, url: &Url) -> Option<(&str, &str)> {
        let of_host =
            |index: &String| Url::parse(index).is_ok_and(|index| authority(&index) == authority(url));
        let (_, found) = self.reach.credentials.iter().find(|(index, _)| of_host(index))?;
        Some(found.split_once(':').unwrap_or((found, "")))
    }
}

/// The values of `href` in a page.
fn references(page: &str) -> impl Iterator<Item = &str> {
    page.split("href=").skip(1).filter_map(|rest| {
        let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''))?;
        rest[1..].split_once(quote).map(|(link, _)| link)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(lock: &str) -> Vec<String> {
        let reach = Reach::of(lock, BTreeMap::new(), Arc::new(Forbidden::default()));
        let mut named: Vec<String> =
            reach.named.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        named.sort();
        named.push(reach.packages.join(" "));
        named
    }

    #[test]
    fn a_lock_names_its_indexes_and_what_lies_elsewhere() {
        let lock = "--index-url https://Index.example:8443/simple\n--find-links https://links.example/a.html\n\
                    six==1.16.0 \\\n    --hash=sha256:00\nidna==3.7 ; python_version < '4'\n\
                    tiny @ http://files.example/tiny-1.0.tar.gz#sha256=00\n\
                    other @ git+https://git.example/o/other@0123\n-e file:///rgrid/lib\n# https://comment.example\n";
        let all =
            ["files.example:80", "git.example:443", "index.example:8443", "links.example:443", "six idna"];
        assert_eq!(named(lock), all);
        assert_eq!(named("six==1.16.0\n"), ["pypi.org:443", "six"]);
        assert_eq!(named("--extra-index-url http://[::1]:80/x\n"), ["::1:80", "pypi.org:443", ""]);
    }

    #[test]
    fn references_of_a_page_are_found_however_they_are_quoted() {
        let page =
            "<a href=\"../a.whl#sha256=0\">a</a><a data-x='1' href='https://f.example/b.whl'>b</a><a href=c>";
        assert_eq!(references(page).collect::<Vec<_>>(), ["../a.whl#sha256=0", "https://f.example/b.whl"]);
    }
}
