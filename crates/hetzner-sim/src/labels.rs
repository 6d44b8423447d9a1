//! Labels: which are allowed, and the language that selects by them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::errors::ApiError;

/// Characters in a key's name, and in a value.
const LABEL_CHARS_MAX: usize = 63;
/// Characters in a key's prefix.
const PREFIX_CHARS_MAX: usize = 253;
/// The provider keeps keys under this prefix for itself.
const RESERVED: &str = "hetzner.cloud/";

pub(crate) type Labels = BTreeMap<String, String>;

/// Letters and digits at both ends; `-`, `_` and `.` inside.
fn is_word(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= LABEL_CHARS_MAX
        && text.chars().all(inner)
        && outer(text.chars().next())
        && outer(text.chars().last())
}

fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_domain = |prefix: &str| prefix.len() <= PREFIX_CHARS_MAX && prefix.split('.').all(is_word);
    is_word(name) && prefix.is_none_or(is_domain)
}

fn is_value(value: &str) -> bool {
    value.is_empty() || is_word(value)
}

/// Labels as they stand in a request.
pub(crate) fn parse(labels: Map<String, Value>) -> Result<Labels, ApiError> {
    let mut parsed = Labels::new();
    for (key, value) in labels {
        let Value::String(value) = value else {
            return Err(ApiError::field("labels", "label values must be strings"));
        };
        if !is_key(&key) || key.starts_with(RESERVED) {
            return Err(ApiError::field("labels", &format!("label key '{key}' is not correctly formatted")));
        }
        if !is_value(&value) {
            return Err(ApiError::field(
                "labels",
                &format!("label value '{value}' is not correctly formatted"),
            ));
        }
        parsed.insert(key, value);
    }
    Ok(parsed)
}

/// One condition of a selector.
#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Has(String),
    Lacks(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

/// Conditions that must all hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selector(Vec<Condition>);

impl Selector {
    /// `k`, `!k`, `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`, with commas between.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let bad = || ApiError::field("label_selector", "label selector is not correctly formatted");
        if text.trim().is_empty() {
            return Ok(Self(Vec::new()));
        }
        let mut conditions = Vec::new();
        for part in split(text).ok_or_else(bad)? {
            conditions.push(condition(part.trim()).ok_or_else(bad)?);
        }
        Ok(Self(conditions))
    }

    pub(crate) fn selects(&self, labels: impl Fn(&str) -> Option<String>) -> bool {
        self.0.iter().all(|condition| match condition {
            Condition::Has(key) => labels(key).is_some(),
            Condition::Lacks(key) => labels(key).is_none(),
            Condition::In(key, values) => labels(key).is_some_and(|value| values.contains(&value)),
            Condition::NotIn(key, values) => labels(key).is_none_or(|value| !values.contains(&value)),
        })
    }
}

/// Parts between the commas that are outside parentheses.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut from, mut inside) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return None,
            ',' if !inside => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    (!inside).then_some(parts)
}

fn condition(text: &str) -> Option<Condition> {
    let key = |key: &str| is_key(key).then(|| key.to_owned());
    if let Some(lacked) = text.strip_prefix('!') {
        return key(lacked.trim()).map(Condition::Lacks);
    }
    if let Some(rest) = text.strip_suffix(')') {
        let (head, list) = rest.split_once('(')?;
        let mut words = head.split_whitespace();
        let (name, how, end) = (words.next()?, words.next()?, words.next());
        let values: Vec<String> = list.split(',').map(|value| value.trim().to_owned()).collect();
        if end.is_some() || !values.iter().all(|value| is_value(value)) {
            return None;
        }
        return match how {
            "in" => Some(Condition::In(key(name)?, values)),
            "notin" => Some(Condition::NotIn(key(name)?, values)),
            _ => None,
        };
    }
    for (sign, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((name, value)) = text.split_once(sign) {
            let (name, value) = (key(name.trim())?, value.trim());
            if !is_value(value) {
                return None;
            }
            let values = vec![value.to_owned()];
            return Some(if equal { Condition::In(name, values) } else { Condition::NotIn(name, values) });
        }
    }
    key(text).map(Condition::Has)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str) -> Option<bool> {
        let labels: Labels = [("env", "prod"), ("rgrid/role", "worker"), ("empty", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        Selector::parse(selector).ok().map(|selector| selector.selects(|key| labels.get(key).cloned()))
    }

    #[test]
    fn the_language_of_selectors() {
        for yes in [
            "",
            "env",
            "!gone",
            "env=prod",
            "env==prod",
            "env!=dev",
            "gone!=dev",
            "env in (dev, prod)",
            "env notin (dev,test)",
            "gone notin (dev)",
            "rgrid/role=worker,env,!gone",
            "empty=",
            "env in (dev,prod),rgrid/role",
        ] {
            assert_eq!(selects(yes), Some(true), "{yes}");
        }
        for no in ["gone", "!env", "env=dev", "env!=prod", "env in (dev)", "env notin (prod)", "env,gone"] {
            assert_eq!(selects(no), Some(false), "{no}");
        }
        for bad in ["env=(", "env in prod", "in (a)", ",", "env=a b", "-x", "a//b", "env in (a", "!", "a=-"] {
            assert_eq!(selects(bad), None, "{bad}");
        }
    }

    #[test]
    fn labels_that_the_provider_refuses() {
        let check = |key: &str, value: Value| {
            let labels = Map::from_iter([(key.to_owned(), value)]);
            parse(labels).is_ok()
        };
        assert!(check("rgrid/role", "worker".into()) && check("a", "".into()));
        assert!(check("a", "x".repeat(63).into()) && !check("a", "x".repeat(64).into()));
        for key in ["", "-a", "a-", "hetzner.cloud/x", "a/b/c", "a b", &"k".repeat(64)] {
            assert!(!check(key, "v".into()), "{key}");
        }
        assert!(!check("a", 1.into()) && !check("a", ".x".into()) && !check("a", "ö".into()));
    }
}
