//! The Python package index that the user's pip or uv asks, and where on it a file lies. No address of an index is
//! ever shown whole: it may hold a password.

use std::time::Duration;

use reqwest::Url;
use rgrid_cli::pip::PipSettings;
use rgrid_core::dependencies::PUBLIC_INDEX;

use super::WheelError;

/// Variables of uv that name another one; the first that is set wins, and then what pip is told.
const VARIABLES: [&str; 2] = ["UV_DEFAULT_INDEX", "UV_INDEX_URL"];
/// The page of a project, as JSON where the index can (PEP 691), else as HTML (PEP 503).
const PAGE_TYPES: &str =
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";
/// A page is there within this.
const PAGE_DEADLINE: Duration = Duration::from_secs(60);
/// A page is no longer than this; the longest of the public index has a few megabytes.
const PAGE_BYTES_MAX: usize = 32 << 20;

/// One index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    url: Url,
}

impl Index {
    /// The one that this user has configured, else the public one.
    pub(super) fn configured() -> Self {
        let named =
            VARIABLES.into_iter().find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()));
        let url = named.or_else(|| PipSettings::look().get_or_variable("index-url"));
        let parse = |url: &str| Url::parse(&format!("{}/", url.trim().trim_end_matches('/'))).ok();
        let url = url.as_deref().and_then(parse).or_else(|| parse(PUBLIC_INDEX));
        Self { url: url.expect("the public index has an address") }
    }

    /// Its name for people.
    pub(super) fn host(&self) -> String {
        self.url.host_str().unwrap_or("(local)").to_owned()
    }

    pub(super) fn unreachable(&self, error: &reqwest::Error) -> WheelError {
        let mut reason: &dyn std::error::Error = error;
        while let Some(cause) = reason.source() {
            reason = cause;
        }
        WheelError::Unreachable { host: self.host(), reason: reason.to_string() }
    }

    /// Asks for an address of this index or one that it names.
    pub(super) async fn get(
        &self,
        http: &reqwest::Client,
        url: Url,
        types: &str,
    ) -> Result<reqwest::Response, WheelError> {
        let request = http.get(url).header(reqwest::header::ACCEPT, types);
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status => Err(WheelError::Refused { host: self.host(), status: status.as_u16() }),
        }
    }

    /// Where `file` of a project lies.
    pub(super) async fn address_of(
        &self,
        http: &reqwest::Client,
        project: &str,
        file: &'static str,
    ) -> Result<Url, WheelError> {
        let not_there = || WheelError::NotThere { host: self.host(), file };
        let page = self.url.join(&format!("{project}/")).map_err(|_| not_there())?;
        let asked = async {
            let mut answer = self.get(http, page, PAGE_TYPES).await?;
            // Links are relative to where the index sent us.
            let base = answer.url().clone();
            let mut text = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
                if text.len() + chunk.len() > PAGE_BYTES_MAX {
                    return Err(not_there());
                }
                text.extend_from_slice(&chunk);
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            link_to(&text, file).and_then(|link| base.join(&link).ok()).ok_or_else(not_there)
        };
        let silent =
            || WheelError::Unreachable { host: self.host(), reason: "it does not answer".to_owned() };
        let mut url = tokio::time::timeout(PAGE_DEADLINE, asked).await.map_err(|_| silent())??;
        // An index with a password wants it for its files too; another host must not have it.
        if url.host_str() == self.url.host_str() && url.username().is_empty() {
            let _ = url.set_username(self.url.username());
            let _ = url.set_password(self.url.password());
        }
        Ok(url)
    }
}

/// The link to `file` on a project's page, JSON or HTML.
pub(crate) fn link_to(page: &str, file: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Page {
        files: Vec<File>,
    }
    #[derive(serde::Deserialize)]
    struct File {
        filename: String,
        url: String,
    }
    if let Ok(page) = serde_json::from_str::<Page>(page) {
        return page.files.into_iter().find(|listed| listed.filename == file).map(|listed| listed.url);
    }
    let links = page.split("href=").skip(1).filter_map(|rest| {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        rest[1..].split(quote).next()
    });
    let names = |link: &&str| {
        let path = link.split(['#', '?']).next().unwrap_or_default();
        path.rsplit('/').next() == Some(file)
    };
    links.into_iter().find(names).map(|link| link.replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_on_a_page_of_either_kind() {
        let json = r#"{"name":"x","files":[{"filename":"x-1.whl","url":"../../files/x-1.whl"}]}"#;
        assert_eq!(link_to(json, "x-1.whl").as_deref(), Some("../../files/x-1.whl"));
        let html =
            "<a href='/f/y-1.whl'>y</a> <a href=\"https://h/f/x-1.whl?a=1&amp;b=2#sha256=00\">x-1.whl</a>";
        assert_eq!(link_to(html, "x-1.whl").as_deref(), Some("https://h/f/x-1.whl?a=1&b=2#sha256=00"));
        assert_eq!(link_to(html, "-1.whl"), None);
        assert_eq!(link_to(json, "x-2.whl"), None);
    }
}
