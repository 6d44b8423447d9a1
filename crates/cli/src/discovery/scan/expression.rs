//! A node of the syntax tree as an [`Expr`]: literals, joins, `pathlib` and `os.path`, and holes for all else.

use std::iter::Peekable;
use std::str::Chars;

use tree_sitter::Node;

use super::{DEPTH_MAX, Expr};

/// Properties of a path that are no folder or file themselves; a variable of the same name is another thing.
const PATH_PROPERTIES: [&str; 6] = ["name", "stem", "suffix", "suffixes", "parts", "anchor"];

/// Turns nodes into expressions, and keeps the nodes that became holes: something may be mentioned inside them.
pub(super) struct Builder<'a, 'tree> {
    pub(super) source: &'a str,
    pub(super) holes: Vec<Node<'tree>>,
}

impl<'a, 'tree> Builder<'a, 'tree> {
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, holes: Vec::new() }
    }

    fn text(&self, node: Node<'tree>) -> &'a str {
        &self.source[node.byte_range()]
    }

    fn hole(&mut self, node: Node<'tree>) -> Expr {
        self.holes.push(node);
        Expr::Hole
    }

    pub(super) fn build(&mut self, node: Node<'tree>, depth: usize) -> Expr {
        if depth > DEPTH_MAX {
            return Expr::Hole;
        }
        let deeper = depth + 1;
        match node.kind() {
            "string" => self.string(node, deeper),
            "concatenated_string" => Expr::Concat(self.children(node, deeper)),
            "parenthesized_expression" => match node.named_child(0) {
                Some(inner) => self.build(inner, deeper),
                None => Expr::Hole,
            },
            "identifier" => match self.text(node) {
                "__file__" => Expr::File,
                name => Expr::Name(name.to_owned()),
            },
            "attribute" => self.attribute(node, deeper),
            "subscript" => self.subscript(node, deeper),
            "binary_operator" => self.operator(node, deeper),
            "call" => self.call(node, deeper),
            "conditional_expression" => {
                // `a if condition else b`: the condition may mention files, too.
                let Some((first, condition)) = node.named_child(0).zip(node.named_child(1)) else {
                    return self.hole(node);
                };
                self.holes.push(condition);
                let last = node.named_child(2).map(|last| self.build(last, deeper));
                Expr::OneOf(std::iter::once(self.build(first, deeper)).chain(last).collect())
            }
            "boolean_operator" | "list" | "tuple" | "set" => Expr::OneOf(self.children(node, deeper)),
            "dictionary" => {
                let mut values = Vec::new();
                let mut cursor = node.walk();
                for pair in node.named_children(&mut cursor) {
                    self.holes.extend(pair.child_by_field_name("key"));
                    match pair.child_by_field_name("value") {
                        Some(value) => values.push(self.build(value, deeper)),
                        None => values.push(self.hole(pair)),
                    }
                }
                Expr::OneOf(values)
            }
            "named_expression" => match node.child_by_field_name("value") {
                Some(value) => self.build(value, deeper),
                None => Expr::Hole,
            },
            _ => self.hole(node),
        }
    }

    fn children(&mut self, node: Node<'tree>, depth: usize) -> Vec<Expr> {
        let mut cursor = node.walk();
        let children: Vec<_> =
            node.named_children(&mut cursor).filter(|child| child.kind() != "comment").collect();
        children.into_iter().map(|child| self.build(child, depth)).collect()
    }

    fn string(&mut self, node: Node<'tree>, depth: usize) -> Expr {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut prefix = String::new();
        let mut cursor = node.walk();
        for child in node.children(&mut cursor) {
            match child.kind() {
                "string_start" => {
                    prefix = self.text(child).trim_end_matches(['"', '\'']).to_ascii_lowercase();
                    if prefix.contains('b') {
                        return Expr::Hole;
                    }
                }
                "string_content" => literal.push_str(&unescape(self.text(child), &prefix)),
                "interpolation" => {
                    if !literal.is_empty() {
                        parts.push(Expr::Text(std::mem::take(&mut literal)));
                    }
                    // A format such as `{i:03}` changes the text in ways that we do not follow.
                    let plain = child.named_child_count() == 1;
                    parts.push(match child.child_by_field_name("expression") {
                        Some(expression) if plain => self.build(expression, depth),
                        Some(expression) => self.hole(expression),
                        None => Expr::Hole,
                    });
                }
                _ => {}
            }
        }
        if parts.is_empty() {
            return Expr::Text(literal);
        }
        if !literal.is_empty() {
            parts.push(Expr::Text(literal));
        }
        Expr::Concat(parts)
    }

    fn attribute(&mut self, node: Node<'tree>, depth: usize) -> Expr {
        let (Some(object), Some(name)) =
            (node.child_by_field_name("object"), node.child_by_field_name("attribute"))
        else {
            return self.hole(node);
        };
        match self.text(name) {
            "parent" => Expr::Parent(Box::new(self.build(object, depth))),
            name if PATH_PROPERTIES.contains(&name) => self.hole(node),
            name => match object.kind() {
                "identifier" => Expr::Attribute(self.text(object).to_owned(), name.to_owned()),
                "attribute" => {
                    let last = object
                        .child_by_field_name("attribute")
                        .map(|last| self.text(last))
                        .unwrap_or_default();
                    Expr::Attribute(last.to_owned(), name.to_owned())
                }
                _ => self.hole(node),
            },
        }
    }

    fn subscript(&mut self, node: Node<'tree>, depth: usize) -> Expr {
        let Some(value) = node.child_by_field_name("value") else {
            return self.hole(node);
        };
        if value.kind() == "attribute"
            && value.child_by_field_name("attribute").is_some_and(|name| self.text(name) == "parents")
            && let Some(object) = value.child_by_field_name("object")
            && let Some(steps) =
                node.child_by_field_name("subscript").and_then(|n| self.text(n).parse::<usize>().ok())
            && steps < DEPTH_MAX
        {
            let inner = self.build(object, depth);
            return (0..=steps).fold(inner, |inner, _| Expr::Parent(Box::new(inner)));
        }
        self.holes.extend(node.child_by_field_name("subscript"));
        match value.kind() {
            // An element of a list or dictionary that the file binds: any of its values.
            "identifier" => self.build(value, depth),
            _ => self.hole(value),
        }
    }

    fn operator(&mut self, node: Node<'tree>, depth: usize) -> Expr {
        let operator = |node: Node<'tree>| node.child_by_field_name("operator").map(|n| n.kind());
        let Some(kind @ ("/" | "+" | "%")) = operator(node) else {
            return self.hole(node);
        };
        let (Some(left), Some(right)) = (node.child_by_field_name("left"), node.child_by_field_name("right"))
        else {
            return self.hole(node);
        };
        if kind == "%" {
            self.holes.push(right);
            let Expr::Text(text) = self.build(left, depth) else {
                return Expr::Hole;
            };
            return start_of(&text, '%');
        }
        // A chain leans to the left and may be thousands long: it is walked, not descended into.
        let mut parts = vec![right];
        let mut first = left;
        while first.kind() == "binary_operator"
            && operator(first) == Some(kind)
            && let (Some(left), Some(right)) =
                (first.child_by_field_name("left"), first.child_by_field_name("right"))
        {
            parts.push(right);
            first = left;
        }
        parts.push(first);
        let parts = parts.into_iter().rev().map(|part| self.build(part, depth)).collect();
        if kind == "/" { Expr::Join(parts) } else { Expr::Concat(parts) }
    }

    /// Positional arguments; the others become holes, so that what they mention is seen.
    fn positional(&mut self, node: Node<'tree>) -> Vec<Node<'tree>> {
        let Some(arguments) = node.child_by_field_name("arguments").filter(|n| n.kind() == "argument_list")
        else {
            return Vec::new();
        };
        let mut cursor = arguments.walk();
        let mut positional = Vec::new();
        for argument in arguments.named_children(&mut cursor) {
            match argument.kind() {
                "comment" => {}
                "keyword_argument" | "list_splat" | "dictionary_splat" => self.holes.push(argument),
                _ => positional.push(argument),
            }
        }
        positional
    }

    fn joined(&mut self, first: Option<Expr>, arguments: Vec<Node<'tree>>, depth: usize) -> Expr {
        let rest = arguments.into_iter().map(|argument| self.build(argument, depth));
        let mut parts: Vec<_> = first.into_iter().chain(rest).collect();
        if parts.len() == 1 { parts.remove(0) } else { Expr::Join(parts) }
    }

    fn call(&mut self, node: Node<'tree>, depth: usize) -> Expr {
        let Some(function) = node.child_by_field_name("function") else {
            return self.hole(node);
        };
        let (object, name) = match function.kind() {
            "identifier" => (None, self.text(function)),
            "attribute" => {
                let name = function.child_by_field_name("attribute").map(|name| self.text(name));
                (function.child_by_field_name("object"), name.unwrap_or_default())
            }
            _ => return self.hole(node),
        };
        let module = object.map(|object| self.text(object)).unwrap_or_default();
        let is_os_path = matches!(module, "" | "os" | "os.path" | "path" | "osp" | "posixpath" | "op");
        match name {
            "Path" | "PurePath" | "PosixPath" | "PurePosixPath" => match self.positional(node) {
                arguments if arguments.is_empty() => Expr::Cwd,
                arguments => self.joined(None, arguments, depth),
            },
            "join" if is_os_path && object.is_some() => {
                let arguments = self.positional(node);
                self.joined(None, arguments, depth)
            }
            "cwd" | "getcwd" => Expr::Cwd,
            "home" => Expr::Home,
            "str" | "fspath" | "abspath" | "realpath" | "normpath" | "expanduser" | "expandvars"
            | "dirname"
                if is_os_path =>
            {
                let Some(first) = self.positional(node).first().copied() else {
                    return self.hole(node);
                };
                let inner = self.build(first, depth);
                if name == "dirname" { Expr::Parent(Box::new(inner)) } else { inner }
            }
            "getenv" => self.default_argument(node, depth),
            "get" if module.ends_with("environ") => self.default_argument(node, depth),
            _ => match object {
                Some(object) => self.method(node, object, name, depth),
                None => self.hole(node),
            },
        }
    }

    /// The environment does not travel, so the default is what the script gets.
    fn default_argument(&mut self, node: Node<'tree>, depth: usize) -> Expr {
        match self.positional(node).get(1).copied() {
            Some(default) => self.build(default, depth),
            None => Expr::Hole,
        }
    }

    fn method(&mut self, node: Node<'tree>, object: Node<'tree>, name: &str, depth: usize) -> Expr {
        match name {
            "joinpath" => {
                let first = self.build(object, depth);
                let arguments = self.positional(node);
                self.joined(Some(first), arguments, depth)
            }
            "resolve" | "absolute" | "expanduser" | "as_posix" | "strip" => self.build(object, depth),
            "with_name" | "with_suffix" => {
                let text = self.positional(node).first().copied().map(|argument| self.build(argument, depth));
                let Some(Expr::Text(text)) = text else {
                    return self.hole(node);
                };
                let inner = Box::new(self.build(object, depth));
                match name {
                    "with_suffix" => Expr::Suffix(inner, text),
                    _ => Expr::Join(vec![Expr::Parent(inner), Expr::Text(text)]),
                }
            }
            "format" if matches!(object.kind(), "string" | "concatenated_string") => {
                self.holes.extend(node.child_by_field_name("arguments"));
                let Expr::Text(text) = self.build(object, depth) else {
                    return Expr::Hole;
                };
                start_of(&text, '{')
            }
            _ => self.hole(node),
        }
    }
}

/// A text that is filled in from `mark` on.
fn start_of(text: &str, mark: char) -> Expr {
    match text.split_once(mark) {
        Some((start, _)) => Expr::Concat(vec![Expr::Text(start.to_owned()), Expr::Hole]),
        None => Expr::Text(text.to_owned()),
    }
}

/// The text that Python makes of the source of a literal with this prefix.
fn unescape(source: &str, prefix: &str) -> String {
    let braces = |text: String| {
        if prefix.contains(['f', 't']) { text.replace("{{", "{").replace("}}", "}") } else { text }
    };
    if prefix.contains('r') || !source.contains('\\') {
        return braces(source.to_owned());
    }
    let mut text = String::with_capacity(source.len());
    let mut rest = source.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match rest.next() {
            Some('\n') | None => {}
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some(c @ ('\\' | '\'' | '"')) => text.push(c),
            Some('x') => text.extend(code(&mut rest, 16, 2, None)),
            Some('u') => text.extend(code(&mut rest, 16, 4, None)),
            Some('U') => text.extend(code(&mut rest, 16, 8, None)),
            Some(digit @ '0'..='7') => text.extend(code(&mut rest, 8, 3, Some(digit))),
            // Control characters, `\N{...}` and unknown escapes: no path that people have.
            Some(other) => text.extend(['\\', other]),
        }
    }
    braces(text)
}

/// The letter that a numeric escape stands for.
fn code(rest: &mut Peekable<Chars<'_>>, radix: u32, digits: usize, first: Option<char>) -> Option<char> {
    let mut number = String::from_iter(first);
    while number.len() < digits
        && let Some(digit) = rest.next_if(|c| c.is_digit(radix))
    {
        number.push(digit);
    }
    u32::from_str_radix(&number, radix).ok().and_then(char::from_u32)
}
