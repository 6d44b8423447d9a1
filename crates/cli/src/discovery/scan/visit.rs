//! The walk over a syntax tree: statements that import, bind and define, and every expression that may be a path.

use std::collections::HashMap;

use tree_sitter::Node;

use super::expression::Builder;
use super::{DEPTH_MAX, Expr, Import, MENTIONS_MAX, Mention, Scan, Usage};

/// More values of one name are not kept.
const BINDINGS_PER_NAME_MAX: usize = 16;
/// More calls of functions of this file are not kept.
const CALLS_MAX: usize = 10_000;

/// A call of something that may be defined in the same file: its arguments say what the parameters may be.
struct Call {
    function: String,
    positional: Vec<Expr>,
    named: Vec<(String, Expr)>,
}

pub(super) struct Visitor<'a> {
    pub(super) source: &'a str,
    scan: Scan,
    /// Names of the parameters of each function, without `self`.
    parameters: HashMap<String, Vec<String>>,
    calls: Vec<Call>,
    /// How many `try` and `if TYPE_CHECKING` stand around the place.
    optional: usize,
    class: Option<String>,
}

/// Visits the whole tree.
pub(super) fn visit(root: Node<'_>, source: &str) -> Scan {
    let mut visitor = Visitor {
        source,
        scan: Scan::default(),
        parameters: HashMap::new(),
        calls: Vec::new(),
        optional: 0,
        class: None,
    };
    visitor.node(root, 0);
    visitor.bind_parameters();
    visitor.scan
}

/// The line of a node, counted from 1.
pub(super) fn line(node: Node<'_>) -> u32 {
    u32::try_from(node.start_position().row).unwrap_or(u32::MAX - 1) + 1
}

impl<'a> Visitor<'a> {
    pub(super) fn text(&self, node: Node<'_>) -> &'a str {
        &self.source[node.byte_range()]
    }

    pub(super) fn build(&self, node: Node<'_>) -> Expr {
        Builder::new(self.source).build(node, 0)
    }

    pub(super) fn mention(&mut self, expr: Expr, line: u32, usage: Usage) {
        if self.scan.mentions.len() < MENTIONS_MAX {
            self.scan.mentions.push(Mention { expr, line, usage });
        }
    }

    pub(super) fn bind(&mut self, name: &str, expr: Expr) {
        if expr == Expr::Hole {
            return;
        }
        let known = self.scan.bindings.entry(name.to_owned()).or_default();
        if known.len() < BINDINGS_PER_NAME_MAX && !known.contains(&expr) {
            known.push(expr);
        }
    }

    pub(super) fn add_module_path(&mut self, expr: Expr) {
        self.scan.module_paths.push(expr);
    }

    pub(super) fn import(&mut self, module: &str, line: u32) {
        let name = module.trim_start_matches('.');
        self.scan.imports.push(Import {
            module: name.to_owned(),
            level: module.len() - name.len(),
            names: Vec::new(),
            binds: None,
            line,
            optional: self.optional > 0,
        });
    }

    pub(super) fn remember_call(
        &mut self,
        function: &str,
        positional: &[Node<'_>],
        named: &[(&str, Node<'_>)],
    ) {
        if self.calls.len() < CALLS_MAX && (!positional.is_empty() || !named.is_empty()) {
            let positional = positional.iter().map(|node| self.build(*node)).collect();
            let named = named.iter().map(|(name, node)| ((*name).to_owned(), self.build(*node))).collect();
            self.calls.push(Call { function: function.to_owned(), positional, named });
        }
    }

    fn bind_parameters(&mut self) {
        for call in std::mem::take(&mut self.calls) {
            let Some(parameters) = self.parameters.get(&call.function).cloned() else {
                continue;
            };
            for (name, expr) in parameters.iter().zip(call.positional) {
                self.bind(name, expr);
            }
            for (name, expr) in call.named {
                self.bind(&name, expr);
            }
        }
    }

    pub(super) fn node(&mut self, node: Node<'_>, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        match node.kind() {
            "comment" | "type" | "future_import_statement" => {}
            "import_statement" => self.import_statement(node),
            "import_from_statement" => self.import_from_statement(node),
            "expression_statement" if is_docstring(node) => {}
            "try_statement" => {
                self.optional += 1;
                self.children(node, depth);
                self.optional -= 1;
            }
            "if_statement" => {
                let condition =
                    node.child_by_field_name("condition").map(|n| self.text(n)).unwrap_or_default();
                let only_for_types = usize::from(condition.ends_with("TYPE_CHECKING"));
                self.optional += only_for_types;
                self.children(node, depth);
                self.optional -= only_for_types;
            }
            "class_definition" => {
                let name = node.child_by_field_name("name").map(|name| self.text(name).to_owned());
                let outer = std::mem::replace(&mut self.class, name);
                self.children(node, depth);
                self.class = outer;
            }
            "function_definition" => {
                self.function(node);
                self.children(node, depth);
            }
            "assignment" => {
                self.assignment(node);
                self.children(node, depth);
            }
            "augmented_assignment" => {
                if let Some((left, right)) = sides(node)
                    && self.text(left) == "sys.path"
                {
                    let expr = self.build(right);
                    self.add_module_path(expr);
                }
                self.children(node, depth);
            }
            "for_statement" | "for_in_clause" => {
                if let Some((left, right)) = sides(node)
                    && left.kind() == "identifier"
                {
                    let expr = self.build(right);
                    self.bind(self.text(left), expr);
                }
                self.children(node, depth);
            }
            "named_expression" => {
                if let Some(name) = node.child_by_field_name("name")
                    && let Some(value) = node.child_by_field_name("value")
                {
                    let expr = self.build(value);
                    self.bind(self.text(name), expr);
                }
                self.children(node, depth);
            }
            "list" | "tuple" => {
                self.module_after_dash_m(node);
                self.children(node, depth);
            }
            "call" => {
                self.call(node);
                self.expression(node, depth);
            }
            "string" | "concatenated_string" | "binary_operator" | "attribute" | "subscript" => {
                self.expression(node, depth);
            }
            _ => self.children(node, depth),
        }
    }

    fn children(&mut self, node: Node<'_>, depth: usize) {
        let mut cursor = node.walk();
        for child in node.named_children(&mut cursor) {
            self.node(child, depth + 1);
        }
    }

    /// Mentions the largest path that starts at this node, then looks into what could not be read as one.
    fn expression(&mut self, node: Node<'_>, depth: usize) {
        let mut builder = Builder::new(self.source);
        let expr = builder.build(node, 0);
        let holes = builder.holes;
        if expr.says_something() {
            self.mention(expr, line(node), Usage::Named);
        }
        if holes.iter().any(|hole| hole.id() == node.id()) {
            self.children(node, depth);
        }
        for hole in holes {
            if hole.id() != node.id() {
                self.node(hole, depth + 1);
            }
        }
    }

    fn import_statement(&mut self, node: Node<'_>) {
        let mut cursor = node.walk();
        for name in node.children_by_field_name("name", &mut cursor) {
            let (module, alias) = self.aliased(name);
            let first = module.split('.').next().unwrap_or_default().to_owned();
            let binds = match alias {
                Some(alias) => (alias, module.clone()),
                None => (first.clone(), first),
            };
            self.scan.imports.push(Import {
                module,
                level: 0,
                names: Vec::new(),
                binds: Some(binds),
                line: line(node),
                optional: self.optional > 0,
            });
        }
    }

    fn import_from_statement(&mut self, node: Node<'_>) {
        let Some(module) = node.child_by_field_name("module_name") else {
            return;
        };
        let dotted = without_space(self.text(module));
        let module = dotted.trim_start_matches('.');
        let mut cursor = node.walk();
        let names = node
            .children_by_field_name("name", &mut cursor)
            .map(|name| {
                let (there, alias) = self.aliased(name);
                let here = alias.unwrap_or_else(|| there.clone());
                (there, here)
            })
            .collect();
        self.scan.imports.push(Import {
            module: module.to_owned(),
            level: dotted.len() - module.len(),
            names,
            binds: None,
            line: line(node),
            optional: self.optional > 0,
        });
    }

    fn aliased(&self, node: Node<'_>) -> (String, Option<String>) {
        let text = |field| node.child_by_field_name(field).map(|n| without_space(self.text(n)));
        match node.kind() {
            "aliased_import" => (text("name").unwrap_or_default(), text("alias")),
            _ => (without_space(self.text(node)), None),
        }
    }

    fn assignment(&mut self, node: Node<'_>) {
        let Some((left, right)) = sides(node) else {
            return;
        };
        match left.kind() {
            "identifier" => {
                let expr = self.build(right);
                self.bind(self.text(left), expr);
            }
            // `self.folder = ...`, `Config.folder = ...`: known by the last name.
            "attribute" => {
                if let Some(name) = left.child_by_field_name("attribute") {
                    let expr = self.build(right);
                    self.bind(self.text(name), expr);
                }
            }
            "pattern_list" | "tuple_pattern" if left.named_child_count() == right.named_child_count() => {
                let mut cursor = right.walk();
                let values: Vec<_> = right.named_children(&mut cursor).collect();
                let mut cursor = left.walk();
                for (name, value) in left.named_children(&mut cursor).zip(values) {
                    let expr = self.build(value);
                    self.bind(self.text(name), expr);
                }
            }
            _ => {}
        }
    }

    fn function(&mut self, node: Node<'_>) {
        let (Some(name), Some(parameters)) =
            (node.child_by_field_name("name"), node.child_by_field_name("parameters"))
        else {
            return;
        };
        let mut names = Vec::new();
        let mut cursor = parameters.walk();
        for parameter in parameters.named_children(&mut cursor) {
            let name = match parameter.kind() {
                "identifier" => Some(parameter),
                "typed_parameter" => parameter.named_child(0),
                "default_parameter" | "typed_default_parameter" => parameter.child_by_field_name("name"),
                _ => None,
            };
            let Some(name) = name.map(|name| self.text(name)) else {
                continue;
            };
            if let Some(value) = parameter.child_by_field_name("value") {
                let expr = self.build(value);
                self.bind(name, expr);
            }
            if !(names.is_empty() && matches!(name, "self" | "cls")) {
                names.push(name.to_owned());
            }
        }
        let function = match (self.text(name), &self.class) {
            ("__init__", Some(class)) => class.clone(),
            (name, _) => name.to_owned(),
        };
        self.parameters.insert(function, names);
    }

    /// `[sys.executable, "-m", "pkg.mod"]`: the command of a child process imports, too.
    fn module_after_dash_m(&mut self, node: Node<'_>) {
        let mut cursor = node.walk();
        let elements: Vec<_> = node.named_children(&mut cursor).collect();
        for pair in elements.windows(2) {
            if pair.iter().all(|element| element.kind() == "string")
                && let (Expr::Text(option), Expr::Text(module)) = (self.build(pair[0]), self.build(pair[1]))
                && option == "-m"
            {
                self.import(&module, line(pair[1]));
            }
        }
    }
}

fn sides<'tree>(node: Node<'tree>) -> Option<(Node<'tree>, Node<'tree>)> {
    node.child_by_field_name("left").zip(node.child_by_field_name("right"))
}

fn without_space(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '\\').collect()
}

/// A statement that is only a text names nothing.
fn is_docstring(node: Node<'_>) -> bool {
    node.named_child_count() == 1
        && node.named_child(0).is_some_and(|only| matches!(only.kind(), "string" | "concatenated_string"))
}
