//! The package indexes that the user has configured, for uv or for pip, and their credentials. These are cut off every
//! address before it is written or shown anywhere; only the grid is told them, apart and by the address they belong to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(super) use rgrid_core::dependencies::PUBLIC_INDEX as PUBLIC;

use super::pin::Places;
use crate::pip::PipSettings;

/// Variables of uv that decide where packages come from.
const UV_VARIABLES: [&str; 5] =
    ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"];
/// Variables of uv that decide what is chosen, besides those.
const UV_CHOICES: [&str; 9] = [
    "UV_INDEX_STRATEGY",
    "UV_PRERELEASE",
    "UV_RESOLUTION",
    "UV_EXCLUDE_NEWER",
    "UV_CONSTRAINT",
    "UV_OVERRIDE",
    "UV_NO_BINARY",
    "UV_NO_BUILD",
    "UV_CONFIG_FILE",
];
/// Settings of uv that name an index.
const INDEX_WORDS: [&str; 3] = ["[[tool.uv.index]]", "[[index]]", "index-url"];
/// A settings file is no longer than this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// An address without the name and password in it, and these, as `name:password`.
pub(super) fn without_credentials(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((credentials, host)) => (
            format!("{scheme}://{host}{}", &rest[end..]),
            Some(credentials.to_owned()).filter(|c| !c.is_empty()),
        ),
        None => (url.to_owned(), None),
    }
}

/// A text in which addresses may stand, without any credentials.
pub(super) fn censored(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find("://") {
        let after = &rest[place + 3..];
        out.push_str(&rest[..place + 3]);
        let end =
            after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '`' | '"' | '\'' | '<' | '>' | ')'));
        let authority = &after[..end.unwrap_or(after.len())];
        rest = match authority.rfind('@') {
            Some(at) => &after[at + 1..],
            None => after,
        };
    }
    out.push_str(rest);
    out
}

/// What is configured on this machine for a project.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// Variables for the resolver, which does not read pip's settings itself.
    pub variables: Vec<(&'static str, String)>,
    /// Everything that a choice of packages depends on, for the key of a lock.
    pub fingerprint: String,
    /// `name:password` by address, as far as they stand in settings.
    known: BTreeMap<String, String>,
    netrc: String,
    default_index: Option<String>,
}

impl Settings {
    /// Those that count in `folder`.
    pub(super) fn look(folder: &Path) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let files: Vec<String> = uv_files(folder).iter().filter_map(|file| read(file)).collect();
        let mut fingerprint = files.concat();
        let mut texts = files.clone();
        let mut variables = Vec::new();
        let uv_is_set = UV_VARIABLES.iter().any(|name| variable(name).is_some());
        for name in UV_VARIABLES.into_iter().chain(UV_CHOICES) {
            if let Some(value) = variable(name) {
                fingerprint.push_str(&format!("\n{name}={value}"));
                texts.push(value);
            }
        }
        // uv's own settings count above pip's.
        if !uv_is_set && !texts.iter().any(|text| INDEX_WORDS.iter().any(|word| text.contains(word))) {
            let pip = PipSettings::look();
            let found = [
                ("UV_DEFAULT_INDEX", pip.get_or_variable("index-url")),
                ("UV_INDEX", pip.get_or_variable("extra-index-url")),
            ];
            for (name, value) in found {
                let Some(value) = value else { continue };
                let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
                fingerprint.push_str(&format!("\n{name}={value}"));
                texts.push(value.clone());
                variables.push((name, value));
            }
        }
        let netrc =
            variable("NETRC").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".netrc")));
        let netrc = netrc.and_then(|file| read(&file)).unwrap_or_default();
        let mut known: BTreeMap<_, _> = texts.iter().flat_map(|text| addresses(text)).collect();
        known.extend(texts.iter().flat_map(|text| named_credentials(text, &variable)));
        let of_variables = ["UV_DEFAULT_INDEX", "UV_INDEX_URL"].iter().find_map(|name| variable(name));
        let of_pip =
            variables.iter().find(|(name, _)| *name == "UV_DEFAULT_INDEX").map(|(_, url)| url.clone());
        let default_index =
            of_variables.or_else(|| files.iter().find_map(|text| default_index(text))).or(of_pip);
        // A name may stand before an index of uv.
        let default_index = default_index.map(|url| match url.split_once('=') {
            Some((name, url)) if !name.contains("://") => url.to_owned(),
            Some(_) | None => url,
        });
        Self { variables, fingerprint, known, netrc, default_index }
    }

    /// The credentials for the addresses of a lock.
    pub(super) fn credentials(&self, places: &Places) -> BTreeMap<String, String> {
        let urls = places.index.iter().chain(&places.extra).chain(&places.links);
        urls.filter_map(|url| Some((url.clone(), self.credentials_for(url)?))).collect()
    }

    /// The person's own default index in the place of the public one, or of none.
    pub(super) fn preferred(&self, mut places: Places) -> Places {
        let is_public = places.index.as_deref().is_none_or(|url| url.trim_end_matches('/') == PUBLIC);
        if is_public {
            places.index = Some(self.default_index.clone().unwrap_or_else(|| PUBLIC.to_owned()));
        }
        places
    }

    fn credentials_for(&self, url: &str) -> Option<String> {
        let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
        let exact = self.known.iter().find(|(known, _)| trimmed(known) == trimmed(url));
        let host = host(url)?;
        exact.map(|(_, credentials)| credentials.clone()).or_else(|| in_netrc(&self.netrc, host))
    }
}

/// Cuts the credentials off the places; what was cut off, by address.
pub(super) fn split(places: Places) -> (Places, BTreeMap<String, String>) {
    let mut found = BTreeMap::new();
    let mut cut = |url: String| {
        let (url, credentials) = without_credentials(&url);
        found.extend(credentials.map(|credentials| (url.clone(), credentials)));
        url
    };
    let places = Places {
        index: places.index.map(&mut cut),
        extra: places.extra.into_iter().map(&mut cut).collect(),
        links: places.links.into_iter().map(&mut cut).collect(),
    };
    (places, found)
}

fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(authority.rsplit_once(':').map_or(authority, |(host, _)| host))
}

/// Every address with credentials in a text of settings.
fn addresses(text: &str) -> Vec<(String, String)> {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ']');
    let words = text.split(ends).filter(|word| word.contains("://"));
    // An index of uv may have a name before it: `name=https://...`.
    let addresses = words.map(|word| match word.split_once('=') {
        Some((name, url)) if !name.contains("://") => url,
        Some(_) | None => word,
    });
    addresses
        .filter_map(|url| {
            let (url, credentials) = without_credentials(url);
            Some((url, credentials?))
        })
        .collect()
}

/// The default index in uv's settings.
fn default_index(text: &str) -> Option<String> {
    let table = text.parse::<toml::Table>().ok()?;
    let uv = table.get("tool").and_then(|tool| tool.get("uv"));
    let setting = |key: &str| uv.and_then(|uv| uv.get(key)).or_else(|| table.get(key));
    let listed = setting("index").and_then(toml::Value::as_array).into_iter().flatten();
    let is_default = |index: &&toml::Value| index.get("default").and_then(toml::Value::as_bool) == Some(true);
    let named = listed.filter(is_default).find_map(|index| index.get("url"));
    named.or_else(|| setting("index-url")).and_then(toml::Value::as_str).map(str::to_owned)
}

/// Credentials of `[[tool.uv.index]]` tables that stand in variables of their own: `UV_INDEX_NAME_PASSWORD`.
fn named_credentials(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let Ok(table) = text.parse::<toml::Table>() else { return Vec::new() };
    let tool = table.get("tool").and_then(|tool| tool.get("uv")).and_then(|uv| uv.get("index"));
    let indexes = tool.or_else(|| table.get("index")).and_then(toml::Value::as_array);
    let named = |index: &toml::Value| {
        let name = index.get("name")?.as_str()?;
        let shout: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        let user = variable(&format!("UV_INDEX_{shout}_USERNAME")).unwrap_or_default();
        let password = variable(&format!("UV_INDEX_{shout}_PASSWORD"));
        if user.is_empty() && password.is_none() {
            return None;
        }
        let url = without_credentials(index.get("url")?.as_str()?).0;
        Some((url, format!("{user}:{}", password.unwrap_or_default())))
    };
    indexes.into_iter().flatten().filter_map(named).collect()
}

/// The entry of a `.netrc` for a host, or its default.
fn in_netrc(text: &str, host: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let (mut login, mut password, mut counts) = (None, None, false);
    let done =
        |login: &Option<&str>, password: &Option<&str>| Some(format!("{}:{}", (*login)?, (*password)?));
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" => {
                if counts {
                    break;
                }
                counts = word == "default" || words.next() == Some(host);
                (login, password) = (None, None);
            }
            "login" if counts => login = words.next(),
            "password" if counts => password = words.next(),
            _ => {}
        }
    }
    if counts { done(&login, &password) } else { None }
}

/// Where uv looks for its settings: the project's, the user's, the machine's.
fn uv_files(folder: &Path) -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let project = folder.ancestors().find(|folder| {
        folder.join("uv.toml").is_file()
            || read(&folder.join("pyproject.toml")).is_some_and(|text| text.contains("tool.uv"))
    });
    let user = variable("XDG_CONFIG_HOME").or_else(|| Some(std::env::home_dir()?.join(".config")));
    let mut files = vec![variable("UV_CONFIG_FILE"), user.map(|folder| folder.join("uv/uv.toml"))];
    files.push(Some("/etc/uv/uv.toml".into()));
    files.extend(
        project
            .into_iter()
            .flat_map(|folder| [Some(folder.join("uv.toml")), Some(folder.join("pyproject.toml"))]),
    );
    files.into_iter().flatten().collect()
}

fn read(file: &Path) -> Option<String> {
    let is_small = file.metadata().is_ok_and(|found| found.is_file() && found.len() <= FILE_BYTES_MAX);
    if is_small { std::fs::read_to_string(file).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_cut_off_addresses() {
        let check = |url: &str| without_credentials(url);
        assert_eq!(check("https://h/simple"), ("https://h/simple".to_owned(), None));
        assert_eq!(
            check("https://u:p@h:8080/s?x=@"),
            ("https://h:8080/s?x=@".to_owned(), Some("u:p".to_owned()))
        );
        assert_eq!(check("https://token@h/s"), ("https://h/s".to_owned(), Some("token".to_owned())));
        assert_eq!(check("https://u:p@ss@h/s"), ("https://h/s".to_owned(), Some("u:p@ss".to_owned())));
        assert_eq!(check("/wheels"), ("/wheels".to_owned(), None));
    }

    #[test]
    fn no_text_keeps_credentials() {
        insta::assert_snapshot!(
            censored("Failed to fetch `https://u:p@h/simple/idna/`, then git+ssh://git:tok@h2/x and mail a@b"),
            @"Failed to fetch `https://h/simple/idna/`, then git+ssh://h2/x and mail a@b"
        );
    }

    #[test]
    fn credentials_are_found_where_people_keep_them() {
        let text = "[[tool.uv.index]]\nname = \"my-corp\"\nurl = \"https://corp.example/simple\"\n";
        let variable = |name: &str| {
            let known = [("UV_INDEX_MY_CORP_USERNAME", "me"), ("UV_INDEX_MY_CORP_PASSWORD", "pw")];
            known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(
            named_credentials(text, &variable),
            [("https://corp.example/simple".to_owned(), "me:pw".to_owned())]
        );
        assert_eq!(
            addresses("corp=https://a:b@h/simple https://h2/simple"),
            [("https://h/simple".to_owned(), "a:b".to_owned())]
        );
        let netrc = "machine other login x password y\nmachine h.example\n  login me\n  password pw\ndefault login d password e";
        assert_eq!(in_netrc(netrc, "h.example").as_deref(), Some("me:pw"));
        assert_eq!(in_netrc(netrc, "elsewhere").as_deref(), Some("d:e"));
        assert_eq!(in_netrc("machine other login x password y", "h"), None);
        assert_eq!(
            crate::pip::in_file("[global]\nextra-index-url =\n    https://a/simple\n", "index-url"),
            None
        );
    }
}
