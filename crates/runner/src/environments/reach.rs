//! Where a build may go: the indexes and addresses of its lock, the hosts that files of these come from, and nowhere else
//! (SEMANTICS section 8). What a source package does while it is built, it does without the rest of the world.
//!
//! An index is free to keep its files elsewhere, and a lock names none of them: so when a build asks for a host that the
//! lock does not name, the indexes' own pages are read until one refers to that host. How a build gets there is in `way`.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::guards;
use crate::sandbox::Forbidden;
use reqwest::header::{ACCEPT, LOCATION, RANGE};
use reqwest::{Response, Url};
use rgrid_core::dependencies::PUBLIC_INDEX;

/// Pages that are read for one build.
const PAGES_MAX: usize = 500;
/// Pages that are read at once.
const AT_ONCE: usize = 8;
/// What packages are built with: an index is asked for these after the lock's own packages.
const BUILT_WITH: [&str; 4] = ["setuptools", "hatchling", "poetry-core", "flit-core"];
/// Bytes of a page that are read: where its files lie is seen in the first of them.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Redirections of one request that are followed.
const REDIRECTIONS_MAX: usize = 5;
/// One answer's head is there within this.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// What is asked about one host is answered within this.
const LEARN_DEADLINE: Duration = Duration::from_secs(60);
/// Refused hosts that are remembered for the person.
const REFUSED_MAX: usize = 5;

/// A host and its port.
type Authority = (String, u16);

/// Where one build may go.
#[derive(Debug)]
pub(crate) struct Reach {
    named: HashSet<Authority>,
    credentials: BTreeMap<String, String>,
    forbidden: Arc<Forbidden>,
    learnt: tokio::sync::Mutex<Learnt>,
    refused: Mutex<BTreeSet<String>>,
}

/// What pages have told so far, and those that were not read yet.
#[derive(Debug, Default)]
struct Learnt {
    seen: HashSet<Authority>,
    /// Of these hosts one file was asked for, to see where they send on to.
    followed: HashSet<Authority>,
    unread: VecDeque<Source>,
}

/// Something that may refer, or send on, to another host.
#[derive(Debug)]
enum Source {
    /// A page with links to files.
    Page(Url),
    /// A file.
    File(Url),
}

impl Reach {
    /// What a lock lets its build reach; never what jobs may not.
    pub(crate) fn of(lock: &str, credentials: BTreeMap<String, String>, forbidden: Arc<Forbidden>) -> Self {
        let lock = lock.replace("\\\n", " ");
        let (mut indexes, mut packages, mut unread) = (Vec::new(), Vec::new(), VecDeque::new());
        let mut has_index = false;
        for line in lock.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            let first = words.next().unwrap_or_default();
            match first {
                "--index-url" | "--extra-index-url" => {
                    has_index |= first == "--index-url";
                    indexes.extend(words.next().map(str::to_owned));
                }
                "--find-links" => unread.extend(words.next().and_then(address).map(Source::Page)),
                _ => match line.split_whitespace().find_map(address) {
                    Some(own) => unread.push_back(Source::File(own)),
                    None if !first.is_empty() && !first.starts_with('-') => {
                        packages.extend(first.split('[').next().map(str::to_owned));
                    }
                    None => {}
                },
            }
        }
        if !has_index {
            indexes.push(PUBLIC_INDEX.to_owned());
        }
        let places = indexes.iter().filter_map(|index| Url::parse(index).ok());
        let own = unread.iter().map(|(Source::Page(url) | Source::File(url))| url.clone());
        let named = places.chain(own).filter_map(|url| authority(&url)).collect();
        let packages = packages.iter().map(String::as_str).chain(BUILT_WITH);
        let page = |index: &String, package: &str| {
            Url::parse(&format!("{}/{package}/", index.trim_end_matches('/'))).ok().map(Source::Page)
        };
        unread.extend(
            packages.flat_map(|package| indexes.iter().filter_map(move |index| page(index, package))),
        );
        unread.truncate(PAGES_MAX);
        let learnt = tokio::sync::Mutex::new(Learnt { unread, ..Learnt::default() });
        Self { named, credentials, forbidden, learnt, refused: Mutex::default() }
    }

    /// Whether the build may talk to this host. A question about one that the lock does not name may take as long as the pages
    /// that are still to be read.
    pub(crate) async fn allows(&self, host: &str, port: u16) -> bool {
        let asked = (host.trim_matches(['[', ']']).to_ascii_lowercase(), port);
        if self.named.contains(&asked) {
            return true;
        }
        if !guards::holds(&guards::BUILD_REACH) {
            return true;
        }
        let allowed = tokio::time::timeout(LEARN_DEADLINE, self.leads_to(&asked)).await.unwrap_or(false);
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

    /// Whether a page refers to this host, or something sends on to it. Reads no more of them than it must.
    async fn leads_to(&self, asked: &Authority) -> bool {
        let mut learnt = self.learnt.lock().await;
        if learnt.seen.contains(asked) {
            return true;
        }
        let Ok(reader) = Reader::new(self) else { return false };
        while !learnt.seen.contains(asked) && !learnt.unread.is_empty() {
            let some = learnt.unread.len().min(AT_ONCE);
            let sources: Vec<Source> = learnt.unread.drain(..some).collect();
            let links = futures_util::future::join_all(sources.into_iter().map(|source| reader.read(source)));
            let links: Vec<Url> = links.await.into_iter().flatten().collect();
            let mut files = Vec::new();
            for link in links {
                if let Some(host) = authority(&link)
                    && learnt.followed.insert(host.clone())
                {
                    learnt.seen.insert(host);
                    files.push(reader.read(Source::File(link)));
                }
            }
            futures_util::future::join_all(files).await;
            learnt.seen.extend(reader.seen());
        }
        learnt.seen.contains(asked)
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
            .build()
            .inspect_err(|error| {
                tracing::warn!(error = error as &dyn std::error::Error, "pages of indexes cannot be read");
            })?;
        Ok(Self { reach, http, seen: Mutex::default() })
    }

    /// Hosts that it was sent to since this was asked last.
    fn seen(&self) -> HashSet<Authority> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a source refers to.
    async fn read(&self, source: Source) -> Vec<Url> {
        match source {
            Source::Page(page) => self.links(page).await,
            Source::File(file) => {
                drop(self.ask(file, true).await);
                Vec::new()
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

    /// Asks, also where the answer sends on to. The body is not read yet.
    async fn ask(&self, mut url: Url, only_begin: bool) -> Option<(Response, Url)> {
        for _ in 0..=REDIRECTIONS_MAX {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(authority(&url));
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
        let learnt = reach.learnt.into_inner();
        named.push(format!("{} to read", learnt.unread.len()));
        named
    }

    #[test]
    fn a_lock_names_its_indexes_and_what_lies_elsewhere() {
        let lock = "--index-url https://Index.example:8443/simple\n--find-links https://links.example/a.html\n\
                    six==1.16.0 \\\n    --hash=sha256:00\nidna[all]==3.7 ; python_version < '4'\n\
                    tiny @ http://files.example/tiny-1.0.tar.gz#sha256=00\n\
                    other @ git+https://git.example/o/other@0123\n-e file:///rgrid/lib\n# https://comment.example\n";
        let all =
            ["files.example:80", "git.example:443", "index.example:8443", "links.example:443", "9 to read"];
        assert_eq!(named(lock), all);
        let public = Url::parse(PUBLIC_INDEX).ok().and_then(|url| authority(&url)).unwrap();
        let public = format!("{}:{}", public.0, public.1);
        assert_eq!(named("six==1.16.0\n"), [public.as_str(), "5 to read"]);
        assert_eq!(named("--extra-index-url http://[::1]:80/x\n"), ["::1:80", public.as_str(), "8 to read"]);
    }

    #[test]
    fn references_of_a_page_are_found_however_they_are_quoted() {
        let page =
            "<a href=\"../a.whl#sha256=0\">a</a><a data-x='1' href='https://f.example/b.whl'>b</a><a href=c>";
        assert_eq!(references(page).collect::<Vec<_>>(), ["../a.whl#sha256=0", "https://f.example/b.whl"]);
    }
}
