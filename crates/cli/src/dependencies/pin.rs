//! What a lock is made of: packages in exactly one version, and the requirements file that they make. The same packages
//! give the same bytes, in whatever order and with whatever comments they were found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::marker::{self, Platform};
use super::name::{Requirement, normalized};
use super::torch;

/// Hashes of one package's files, as `algorithm:hex`.
pub(super) type Hashes = BTreeSet<String>;

/// Where a package comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// The index, in this version.
    Index { version: String, hashes: Hashes },
    /// An address, which may be a repository with a commit.
    Url { url: String, hashes: Hashes },
    /// A folder or an archive of this machine.
    Local { path: PathBuf, editable: bool },
}

/// One package of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin {
    /// Normalised; empty when only the package itself knows it.
    pub name: String,
    pub origin: Origin,
    /// Stays only when it could not be answered here.
    pub marker: Option<String>,
}

impl Pin {
    /// A package of the index.
    pub(super) fn version(name: &str, version: &str, hashes: Hashes, marker: Option<String>) -> Self {
        Self { name: normalized(name), origin: Origin::Index { version: version.to_owned(), hashes }, marker }
    }

    /// The version of it, for people.
    pub(super) fn shown_version(&self) -> String {
        match &self.origin {
            Origin::Index { version, .. } => version.clone(),
            // An address may hold a password.
            Origin::Url { url, .. } => super::indexes::without_credentials(url).0,
            Origin::Local { path, editable: false } => path.display().to_string(),
            Origin::Local { path, editable: true } => format!("{} (editable)", path.display()),
        }
    }

    fn line(&self) -> String {
        let at = |address: &str| match self.name.as_str() {
            "" => address.to_owned(),
            name => format!("{name} @ {address}"),
        };
        let (mut line, hashes) = match &self.origin {
            Origin::Index { version, hashes } => (format!("{}=={version}", self.name), Some(hashes)),
            Origin::Url { url, hashes } => (at(url), Some(hashes)),
            Origin::Local { path, editable: true } => (format!("-e {}", spelled(path)), None),
            Origin::Local { path, editable: false } if self.name.is_empty() => (spelled(path), None),
            Origin::Local { path, editable: false } => (at(&format!("file://{}", spelled(path))), None),
        };
        if let Some(marker) = &self.marker {
            line.push_str(&format!(" ; {marker}"));
        }
        for hash in hashes.into_iter().flatten() {
            line.push_str(&format!(" --hash={hash}"));
        }
        line
    }
}

/// A path as a requirements file takes it.
fn spelled(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace(' ', "%20").replace('#', "%23")
}

/// Where packages are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// The index asked last.
    pub index: Option<String>,
    /// Those asked before it, in their order.
    pub extra: Vec<String>,
    /// Pages or folders with links.
    pub links: Vec<String>,
}

/// Only those that the platform wants; a marker that cannot be answered here stays.
pub(super) fn wanted_on(pins: Vec<Pin>, platform: &Platform) -> Vec<Pin> {
    let judge = |mut pin: Pin| {
        let Some(marker) = &pin.marker else { return Some(pin) };
        match marker::holds(marker, platform, &[]) {
            Some(false) => return None,
            Some(true) => pin.marker = None,
            None => {}
        }
        Some(pin)
    };
    pins.into_iter().filter_map(judge).collect()
}

/// The requirements file of the lock.
pub(super) fn text(pins: &[Pin], places: &Places) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    places.index.iter().for_each(|url| line(format!("--index-url {url}")));
    places.extra.iter().for_each(|url| line(format!("--extra-index-url {url}")));
    places.links.iter().for_each(|url| line(format!("--find-links {url}")));
    let lines: BTreeSet<String> = pins.iter().map(Pin::line).collect();
    lines.into_iter().for_each(line);
    out
}

/// What the resolver wrote: a requirements file with nothing but places, pins and hashes. Paths are relative to
/// `folder`. Places keep their credentials. Of the comments only those count that name PyTorch's own index, which uv lists
/// nowhere else.
pub(super) fn read(text: &str, folder: &Path) -> (Vec<Pin>, Places) {
    let mut places = Places::default();
    let mut pins = Vec::new();
    let joined = text.replace("\\\n", " ");
    for line in joined.lines().map(str::trim) {
        let setting =
            |name: &str| line.strip_prefix(name).map(|value| value.trim_start_matches('=').trim().to_owned());
        if let Some(url) = line.strip_prefix("# from ").filter(|url| torch::is_index(url)) {
            if !places.extra.iter().any(|known| known == url) {
                places.extra.push(url.to_owned());
            }
        } else if line.is_empty() || line.starts_with('#') {
        } else if let Some(url) = setting("--index-url") {
            places.index = Some(url);
        } else if let Some(url) = setting("--extra-index-url") {
            places.extra.push(url);
        } else if let Some(url) = setting("--find-links") {
            places.links.push(url);
        } else {
            pins.extend(pin(line, folder));
        }
    }
    (pins, places)
}

fn pin(line: &str, folder: &Path) -> Option<Pin> {
    let mut words = line.split(" --hash=");
    let first = words.next()?.trim();
    let hashes: Hashes = words.map(|hash| hash.trim().to_owned()).collect();
    let local = |text: &str, editable, name: String| {
        let (text, marker) = match text.split_once(" ;") {
            Some((text, marker)) => (text, Some(marker.trim().to_owned())),
            None => (text, None),
        };
        Pin { name, origin: Origin::Local { path: local_path(text, folder), editable }, marker }
    };
    if let Some(path) = first.strip_prefix("-e ") {
        return Some(local(path, true, String::new()));
    }
    let Some(found) = Requirement::parse(first).filter(|_| !first.starts_with('.')) else {
        return Some(local(first, false, String::new()));
    };
    Some(match found.versions.split_once("==") {
        Some(("", version)) => {
            Pin::version(&found.name, version.trim_start_matches('=').trim(), hashes, found.marker)
        }
        Some(_) | None => {
            let address = found.versions.strip_prefix('@')?.trim();
            if is_local_address(address) {
                let path = local_path(address, folder);
                return Some(Pin {
                    name: found.name,
                    origin: Origin::Local { path, editable: false },
                    marker: found.marker,
                });
            }
            Pin {
                name: found.name,
                origin: Origin::Url { url: address.to_owned(), hashes },
                marker: found.marker,
            }
        }
    })
}

/// True of a path, and of a `file:` address.
pub(super) fn is_local_address(address: &str) -> bool {
    address.starts_with("file:") || !address.contains("://")
}

/// The path that an address of this machine means.
pub(super) fn local_path(address: &str, folder: &Path) -> PathBuf {
    let text = address.trim().trim_start_matches("file://localhost").trim_start_matches("file://");
    let text = text.strip_prefix("file:").unwrap_or(text);
    let text = text.split('#').next().unwrap_or(text);
    crate::discovery::absolute(folder, Path::new(&unquoted(text)))
}

/// `%20` and its like, spelled out.
fn unquoted(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let value = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The packages by name, with the versions that people are shown.
pub(super) fn listing(pins: &[Pin]) -> BTreeMap<String, String> {
    let name = |pin: &Pin| match (&pin.origin, pin.name.as_str()) {
        (Origin::Local { path, .. }, "") => {
            path.file_name().unwrap_or_default().to_string_lossy().into_owned()
        }
        (Origin::Local { .. } | Origin::Index { .. } | Origin::Url { .. }, name) => name.to_owned(),
    };
    pins.iter().map(|pin| (name(pin), pin.shown_version())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOLVED: &str = "--index-url https://pypi.org/simple\n--extra-index-url https://h/simple\n\nidna==3.7 \\\n    --hash=sha256:bb \\\n    --hash=sha256:aa\n    # from https://pypi.org/simple\nclick==8.1\ntorch==2.5.1+cpu\n    # from https://download.pytorch.org/whl/cpu\n-e ../lib\n./wheels/x-1-py3-none-any.whl\ny @ file:///w/y%201.whl\nz @ git+https://h/z@0123 ; sys_platform == 'win32'\n";

    fn lock(text_of_resolver: &str) -> String {
        let (pins, places) = read(text_of_resolver, Path::new("/p/app"));
        text(&wanted_on(pins, &Platform::of_workers(12)), &places)
    }

    #[test]
    fn what_the_resolver_wrote_becomes_a_lock() {
        insta::assert_snapshot!(lock(RESOLVED), @r"
        --index-url https://pypi.org/simple
        --extra-index-url https://h/simple
        --extra-index-url https://download.pytorch.org/whl/cpu
        -e /p/lib
        /p/app/wheels/x-1-py3-none-any.whl
        click==8.1
        idna==3.7 --hash=sha256:aa --hash=sha256:bb
        torch==2.5.1+cpu
        y @ file:///w/y%201.whl
        ");
    }

    #[test]
    fn order_and_comments_do_not_change_a_lock() {
        let other = "# made today\nclick==8.1\n# by me\nidna==3.7 --hash=sha256:aa --hash=sha256:bb\n";
        let one = "idna==3.7 \\\n    --hash=sha256:bb \\\n    --hash=sha256:aa\n\nclick==8.1\n";
        assert_eq!(lock(one), lock(other));
    }

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let (pins, places) = read(RESOLVED, Path::new("/p/app"));
        let again = read(&text(&pins, &places), Path::new("/elsewhere"));
        assert_eq!(text(&again.0, &again.1), text(&pins, &places));
        assert_eq!(again.1, places);
    }
}
