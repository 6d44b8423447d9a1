//! What a Python source file says about other files: its imports, and the expressions in it that may be paths.
//! Text in, facts out: nothing here looks at the file system, so that a scan can be remembered by the text's hash.
//!
//! The parser takes any version of the language and survives syntax errors; Python will report those itself.

mod calls;
mod expression;
mod visit;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A larger source file is sent and not scanned: it is generated, and its literals are no paths.
pub(crate) const SCAN_BYTES_MAX: u64 = 4 << 20;
/// Deeper nesting is not followed.
const DEPTH_MAX: usize = 200;
/// More mentions of one file are not kept.
const MENTIONS_MAX: usize = 50_000;

/// An expression that may be a path, as far as it can be known without running it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Expr {
    /// A string literal.
    Text(String),
    /// `__file__`.
    File,
    /// The working directory.
    Cwd,
    /// The home folder.
    Home,
    /// A variable.
    Name(String),
    /// `object.name`.
    Attribute(String, String),
    /// Path parts, joined as `os.path.join` does.
    Join(Vec<Self>),
    /// Texts, one after the other.
    Concat(Vec<Self>),
    /// The folder that holds it.
    Parent(Box<Self>),
    /// The same path with another suffix.
    Suffix(Box<Self>, String),
    /// Any of these.
    OneOf(Vec<Self>),
    /// Known only when the script runs.
    Hole,
}

impl Expr {
    /// True when it holds a literal, and so names something by itself.
    pub(crate) fn says_something(&self) -> bool {
        match self {
            Self::Text(_) | Self::File => true,
            Self::Join(parts) | Self::Concat(parts) | Self::OneOf(parts) => {
                parts.iter().any(Self::says_something)
            }
            Self::Parent(inner) | Self::Suffix(inner, _) => inner.says_something(),
            Self::Cwd | Self::Home | Self::Name(_) | Self::Attribute(..) | Self::Hole => false,
        }
    }

    /// Every literal in it, in order.
    pub(crate) fn literals<'a>(&'a self, into: &mut Vec<&'a str>) {
        match self {
            Self::Text(text) => into.push(text),
            Self::Join(parts) | Self::Concat(parts) | Self::OneOf(parts) => {
                parts.iter().for_each(|part| part.literals(into));
            }
            Self::Parent(inner) | Self::Suffix(inner, _) => inner.literals(into),
            Self::File | Self::Cwd | Self::Home | Self::Name(_) | Self::Attribute(..) | Self::Hole => {}
        }
    }
}

/// What is done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Usage {
    /// It is named.
    Named,
    /// The folder's own entries are listed.
    Listed,
    /// The whole folder below it is read.
    Walked,
    /// It is a pattern, as the `glob` module takes it.
    Pattern,
    /// It is a pattern, as a path's `glob` takes it.
    PathPattern,
}

/// An expression that may be a path, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mention {
    pub(crate) expr: Expr,
    pub(crate) line: u32,
    pub(crate) usage: Usage,
}

/// One `import`, or a call that does the same with a literal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Import {
    /// The dotted name, without leading dots; may be empty (`from . import x`).
    pub(crate) module: String,
    /// Leading dots.
    pub(crate) level: usize,
    /// What `from ... import` names: the name there and the name here. Empty for a plain `import`.
    pub(crate) names: Vec<(String, String)>,
    /// The name that a plain `import` binds here, with the module that it then stands for.
    pub(crate) binds: Option<(String, String)>,
    pub(crate) line: u32,
    /// It stands under `try` or `if TYPE_CHECKING`.
    pub(crate) optional: bool,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scan {
    pub(crate) imports: Vec<Import>,
    pub(crate) mentions: Vec<Mention>,
    /// What each name may be, wherever in the file it is bound.
    pub(crate) bindings: BTreeMap<String, Vec<Expr>>,
    /// What the file adds to `sys.path`.
    pub(crate) module_paths: Vec<Expr>,
}

/// Scans a source text.
pub(crate) fn scan(source: &[u8]) -> Scan {
    let source = String::from_utf8_lossy(source);
    let source = source.strip_prefix('\u{feff}').unwrap_or(&source);
    let mut parser = tree_sitter::Parser::new();
    parser
        .set_language(&tree_sitter_python::LANGUAGE.into())
        .expect("the grammar is built for this parser, as the lock file pins both");
    let Some(tree) = parser.parse(source, None) else {
        return Scan::default();
    };
    visit::visit(tree.root_node(), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mentions(source: &str) -> Vec<Expr> {
        scan(source.as_bytes()).mentions.into_iter().map(|mention| mention.expr).collect()
    }

    #[test]
    fn escapes_raw_texts_and_concatenations_are_read_as_python_reads_them() {
        let source = r#"a = ["d\x61ta\u002fx", r"a\b", "a" 'b' "c", "x" + "y", f"{{a}}", '''long''', "t\
ail"]"#;
        let texts: Vec<String> = mentions(source)
            .iter()
            .map(|expr| {
                let mut texts = Vec::new();
                expr.literals(&mut texts);
                texts.concat()
            })
            .collect();
        assert_eq!(texts, ["data/x", r"a\b", "abc", "xy", "{a}", "long", "tail"]);
    }

    #[test]
    fn docstrings_and_annotations_name_no_file() {
        let source = "'''readme.md'''\ndef f(x: 'a.txt') -> 'b.txt':\n    'c.txt'\n    return 'd.txt'\n";
        assert_eq!(mentions(source), [Expr::Text("d.txt".to_owned())]);
    }

    #[test]
    fn a_broken_or_ancient_file_is_scanned_as_far_as_it_goes() {
        let scan = scan(b"import a\nprint 'x.txt'\ndef f(:\n  import b\nexec 'y' in z\n");
        let modules: Vec<_> = scan.imports.iter().map(|import| import.module.as_str()).collect();
        assert_eq!(modules, ["a", "b"]);
    }

    #[test]
    fn bytes_of_no_encoding_and_deep_nesting_do_not_stop_it() {
        scan(b"\xff\xfe\x00import x");
        scan(format!("x = {}1{}", "(".repeat(50_000), ")".repeat(50_000)).as_bytes());
        scan(format!("x = {}'a'", "'a' + ".repeat(50_000)).as_bytes());
        scan(format!("x = a{}", ".b('c')".repeat(20_000)).as_bytes());
    }
}
