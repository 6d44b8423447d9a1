//! What an S3 server says where the library does not listen: its refusals, and its list of an upload's parts.
//!
//! The XML is flat and of known shape, so three texts are cut out of it and no parser is needed.

use std::collections::BTreeMap;

use reqwest::StatusCode;

use super::Error;
use super::s3::failed;

/// An answer with its whole text.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) is_html: bool,
    pub(super) text: String,
}

/// A part that the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArrivedPart {
    pub(crate) tag: String,
    pub(crate) size_bytes: u64,
}

/// One page of an upload's parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PartsPage {
    pub(crate) parts: BTreeMap<u32, ArrivedPart>,
    /// There are more, after this number.
    pub(crate) next: Option<u32>,
}

impl Answer {
    pub(super) async fn read(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let status = response.status();
        let kind = response.headers().get(reqwest::header::CONTENT_TYPE);
        let is_html =
            kind.and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.starts_with("text/html"));
        let text = response.text().await.map_err(reqwest::Error::without_url)?;
        Ok(Self { status, is_html, text })
    }

    /// The name that the server has for its refusal.
    pub(super) fn code(&self) -> Option<&str> {
        field(&self.text, "Code")
    }

    pub(super) fn refused(&self, action: &'static str) -> Error {
        let code = self.code().unwrap_or("no reason given");
        failed(action)(format!("status {}: {code}", self.status.as_u16()))
    }

    /// Reads it as a list of parts; `None` when it is none.
    pub(super) fn parts(&self) -> Option<PartsPage> {
        parts(&self.text)
    }
}

/// Reads a text as a list of parts; `None` when it is none.
pub(crate) fn parts(xml: &str) -> Option<PartsPage> {
    if !xml.contains("<ListPartsResult") {
        return None;
    }
    let mut parts = BTreeMap::new();
    for part in xml.split("<Part>").skip(1) {
        let part = part.split("</Part>").next()?;
        let number = field(part, "PartNumber")?.parse().ok()?;
        let size_bytes = field(part, "Size")?.parse().ok()?;
        let tag = field(part, "ETag")?.replace("&quot;", "\"").replace("&#34;", "\"");
        parts.insert(number, ArrivedPart { tag, size_bytes });
    }
    let more = field(xml, "IsTruncated") == Some("true");
    let next = field(xml, "NextPartNumberMarker").and_then(|marker| marker.parse().ok());
    Some(PartsPage { parts, next: next.filter(|_| more) })
}

/// The text of the first element of this name.
fn field<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer { status: StatusCode::OK, is_html: false, text: text.to_owned() }
    }

    #[test]
    fn a_page_of_parts_is_read_as_servers_write_it() {
        let page = answer(
            "<?xml version=\"1.0\"?>\n<ListPartsResult xmlns=\"x\"><NextPartNumberMarker>2</NextPartNumberMarker>\
             <MaxParts>2</MaxParts><IsTruncated>true</IsTruncated>\
             <Part><PartNumber>1</PartNumber><ETag>&quot;a1&quot;</ETag><Size>5</Size></Part>\
             <Part><PartNumber>2</PartNumber><ETag>\"b2\"</ETag><Size>6</Size></Part></ListPartsResult>",
        );
        let part = |tag: &str, size_bytes| ArrivedPart { tag: tag.to_owned(), size_bytes };
        let parts = BTreeMap::from([(1, part("\"a1\"", 5)), (2, part("\"b2\"", 6))]);
        assert_eq!(page.parts(), Some(PartsPage { parts, next: Some(2) }));
        let none = answer("<ListPartsResult><IsTruncated>false</IsTruncated></ListPartsResult>");
        assert_eq!(none.parts(), Some(PartsPage { parts: BTreeMap::new(), next: None }));
    }

    #[test]
    fn a_refusal_is_no_page_and_has_a_name() {
        let refused = answer("<Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>");
        assert_eq!((refused.parts(), refused.code()), (None, Some("NoSuchUpload")));
        assert_eq!(answer("<html>").code(), None);
    }
}
