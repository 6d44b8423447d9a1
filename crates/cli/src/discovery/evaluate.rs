//! Turns expressions into the texts that they may be, given where the source lies and what other local modules bind.

use std::path::{Path, PathBuf};

use rgrid_core::path::PATH_BYTES_MAX;

use super::scan::Expr;
use super::sources::Sources;

/// Values of one expression that are kept.
const VALUES_MAX: usize = 64;
/// Names that lead to names.
const HOPS_MAX: usize = 12;
/// Expressions that are looked into for one: names that are bound to names many times over would take for ever.
const STEPS_MAX: usize = 10_000;

/// Stands for the unknown in a pattern until its start has been looked at: no path holds it.
const ANYTHING: &str = "\0";

/// A text that an expression may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) text: String,
    /// True when something unknown follows.
    pub(crate) open: bool,
}

impl Value {
    fn known(text: impl Into<String>) -> Self {
        Self { text: text.into(), open: false }
    }
}

/// How one expression was come to.
#[derive(Debug, Default)]
struct Trail {
    /// The names on the way, each with the file that binds it.
    names: Vec<(PathBuf, String)>,
    /// Expressions that were looked into so far.
    steps: usize,
}

/// What stands for something unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// It ends what is known.
    Open,
    /// A star, in a pattern whose start is known.
    Star,
}

/// Evaluates in the source at `file`.
pub(crate) struct Evaluator<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) cwd: &'a str,
    pub(crate) home: Option<&'a str>,
    pub(crate) unknown: Unknown,
}

impl Evaluator<'_> {
    pub(crate) fn values(&self, file: &Path, expr: &Expr) -> Vec<Value> {
        let mut values = self.evaluate(file, expr, &mut Trail::default());
        values.retain(|value| !value.text.starts_with(ANYTHING));
        for value in &mut values {
            value.text = value.text.replace(ANYTHING, "*");
            if let (Some(rest), Some(home)) = (value.text.strip_prefix("~/"), self.home) {
                value.text = format!("{home}/{rest}");
            }
        }
        values
    }

    fn evaluate(&self, file: &Path, expr: &Expr, trail: &mut Trail) -> Vec<Value> {
        trail.steps += 1;
        if trail.steps > STEPS_MAX {
            return Vec::new();
        }
        let mut values = match expr {
            Expr::Text(text) => vec![Value::known(text)],
            Expr::File => vec![Value::known(file.to_string_lossy())],
            Expr::Cwd => vec![Value::known(self.cwd)],
            Expr::Home => self.home.map(Value::known).into_iter().collect(),
            Expr::Hole => self.anything(),
            Expr::Name(name) => self.named(file, None, name, trail),
            Expr::Attribute(object, name) => self.named(file, Some(object), name, trail),
            Expr::OneOf(options) => {
                options.iter().flat_map(|option| self.evaluate(file, option, trail)).collect()
            }
            Expr::Join(parts) => self.fold(file, parts, trail, joined),
            Expr::Concat(parts) => self.fold(file, parts, trail, |start, part| start + part),
            Expr::Parent(inner) => {
                let inner = self.evaluate(file, inner, trail);
                inner.into_iter().filter(|v| !v.open).map(|v| Value::known(parent(&v.text))).collect()
            }
            Expr::Suffix(inner, suffix) => {
                let inner = self.evaluate(file, inner, trail).into_iter().filter(|v| !v.open);
                inner.map(|v| Value::known(with_suffix(&v.text, suffix))).collect()
            }
        };
        // What is longer is no path, and doubles with each name that says it twice.
        values.retain(|value| value.text.len() <= PATH_BYTES_MAX);
        values.truncate(VALUES_MAX);
        values
    }

    fn anything(&self) -> Vec<Value> {
        match self.unknown {
            Unknown::Open => vec![Value { text: String::new(), open: true }],
            Unknown::Star => vec![Value::known(ANYTHING)],
        }
    }

    fn fold(
        &self,
        file: &Path,
        parts: &[Expr],
        trail: &mut Trail,
        append: fn(String, &str) -> String,
    ) -> Vec<Value> {
        let mut values: Vec<Value> = Vec::new();
        for (place, part) in parts.iter().enumerate() {
            if place > 0 && values.iter().all(|value| value.open) {
                break;
            }
            let next = self.evaluate(file, part, trail);
            if place == 0 {
                values = next;
                continue;
            }
            let appended = values.iter().flat_map(|value| {
                next.iter()
                    .filter(|_| !value.open)
                    .map(|part| Value { text: append(value.text.clone(), &part.text), open: part.open })
            });
            let stay = values.iter().filter(|value| value.open).cloned();
            values = stay.chain(appended).take(VALUES_MAX).collect();
        }
        values
    }

    /// What a name may be: bound in this file, or imported from another local one.
    fn named(&self, file: &Path, object: Option<&str>, name: &str, trail: &mut Trail) -> Vec<Value> {
        let key = (file.to_owned(), name.to_owned());
        if trail.names.len() > HOPS_MAX || trail.names.contains(&key) {
            return Vec::new();
        }
        trail.names.push(key);
        let values = match self.sources.imported(file, object, name) {
            Some((module, name)) => self.named(&module, None, &name, trail),
            None => {
                let bound = self.sources.bindings(file, name);
                bound.iter().flat_map(|expr| self.evaluate(file, expr, trail)).collect()
            }
        };
        trail.names.pop();
        if values.is_empty() && trail.names.is_empty() { self.anything() } else { values }
    }
}

fn joined(start: String, part: &str) -> String {
    if part.starts_with('/') || start.is_empty() {
        part.to_owned()
    } else if start.ends_with('/') {
        start + part
    } else {
        start + "/" + part
    }
}

fn parent(text: &str) -> &str {
    let text = if text.len() > 1 { text.trim_end_matches('/') } else { text };
    match text.rfind('/') {
        Some(0) => "/",
        Some(cut) => &text[..cut],
        None => ".",
    }
}

fn with_suffix(text: &str, suffix: &str) -> String {
    let start = text.rfind('/').map_or(0, |cut| cut + 1);
    let dot = text[start..].rfind('.').filter(|dot| *dot > 0).map_or(text.len(), |dot| start + dot);
    format!("{}{suffix}", &text[..dot])
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan;
    use super::*;

    #[test]
    fn names_that_are_bound_to_names_many_times_over_are_not_followed_for_ever() {
        let next = |name: usize| format!("a{name} = {}\n", vec![format!("a{}", name + 1); 60].join(" + "));
        let source: String = (0..10).map(next).chain(["a10 = 'x'\n".to_owned()]).collect();
        let file = PathBuf::from("/p/s.py");
        let sources = Sources::of_one(file.clone(), scan(source.as_bytes()));
        let evaluator = Evaluator { sources: &sources, cwd: "/p", home: None, unknown: Unknown::Open };
        let values = |name: &str| evaluator.values(&file, &Expr::Name(name.to_owned()));
        assert_eq!(values("a9"), [Value::known("x".repeat(60))]);
        assert!(values("a0").iter().all(|value| value.text.len() <= PATH_BYTES_MAX));
    }
}
