//! Calls that tell more than their arguments do: those that list folders, import by name, start other programs or
//! declare options. Known by their names alone; a function of the user's own that is named alike costs nothing but a
//! look at a folder.

use tree_sitter::Node;

use super::visit::{Visitor, line};
use super::{Expr, Usage};

/// Functions that read a whole folder: the name, which argument names the folder, and how deep they read.
const FOLDER_READERS: &[(&str, usize, Usage)] = &[
    ("listdir", 0, Usage::Listed),
    ("scandir", 0, Usage::Listed),
    ("walk", 0, Usage::Walked),
    ("fwalk", 0, Usage::Walked),
    ("copytree", 0, Usage::Walked),
    ("make_archive", 2, Usage::Walked),
    ("glob", 0, Usage::Pattern),
    ("iglob", 0, Usage::Pattern),
    ("FileSystemLoader", 0, Usage::Walked),
    ("StaticFiles", 0, Usage::Walked),
    ("read_parquet", 0, Usage::Walked),
    ("scan_parquet", 0, Usage::Pattern),
    ("scan_csv", 0, Usage::Pattern),
    ("read_table", 0, Usage::Walked),
    ("dataset", 0, Usage::Walked),
    ("load_dataset", 0, Usage::Walked),
    ("load_from_disk", 0, Usage::Walked),
    ("from_pretrained", 0, Usage::Walked),
    ("load_model", 0, Usage::Walked),
    ("load_files", 0, Usage::Walked),
    ("ImageFolder", 0, Usage::Walked),
    ("image_dataset_from_directory", 0, Usage::Walked),
    ("flow_from_directory", 0, Usage::Walked),
];
/// Keywords that name the folder of those.
const FOLDER_KEYWORDS: [&str; 4] = ["root_dir", "directory", "searchpath", "path"];
/// Functions whose first argument, when a literal, is imported.
const IMPORTERS: [&str; 5] = ["import_module", "__import__", "run_module", "PackageLoader", "files"];
/// Functions that give one text to a shell or split it into words.
const SHELLS: [&str; 9] =
    ["system", "popen", "run", "call", "check_call", "check_output", "Popen", "getoutput", "getstatusoutput"];

impl Visitor<'_> {
    pub(super) fn call(&mut self, node: Node<'_>) {
        let (Some(function), Some(arguments)) =
            (node.child_by_field_name("function"), node.child_by_field_name("arguments"))
        else {
            return;
        };
        let object = function.child_by_field_name("object");
        let name = match function.child_by_field_name("attribute") {
            Some(attribute) => self.text(attribute),
            None if function.kind() == "identifier" => self.text(function),
            None => return,
        };
        let mut cursor = arguments.walk();
        let mut positional = Vec::new();
        let mut named = Vec::new();
        for argument in arguments.named_children(&mut cursor) {
            match argument.kind() {
                "keyword_argument" => {
                    let pair =
                        argument.child_by_field_name("name").zip(argument.child_by_field_name("value"));
                    named.extend(pair.map(|(name, value)| (self.text(name), value)));
                }
                "comment" | "list_splat" | "dictionary_splat" => {}
                _ => positional.push(argument),
            }
        }
        let line = line(node);
        match name {
            "append" | "insert" | "extend" | "addsitedir" => {
                let is_module_path = object.is_some_and(|object| self.text(object) == "sys.path");
                if let Some(path) = positional.last().filter(|_| is_module_path || name == "addsitedir") {
                    let expr = self.build(*path);
                    self.add_module_path(expr);
                }
            }
            "add_argument" | "option" | "argument" => self.option(&positional, &named),
            name if IMPORTERS.contains(&name) => {
                if let Some(Expr::Text(module)) = positional.first().map(|argument| self.build(*argument)) {
                    self.import(&module, line);
                }
            }
            name if SHELLS.contains(&name) => {
                if let Some(Expr::Text(command)) = positional.first().map(|argument| self.build(*argument)) {
                    let words = shlex::split(&command).unwrap_or_default();
                    for word in words.into_iter().filter(|word| *word != command) {
                        self.mention(Expr::Text(word), line, Usage::Named);
                    }
                }
            }
            _ => {}
        }
        self.folder_reader(name, object, &positional, &named, line);
        self.remember_call(name, &positional, &named);
    }

    fn folder_reader(
        &mut self,
        name: &str,
        object: Option<Node<'_>>,
        positional: &[Node<'_>],
        named: &[(&str, Node<'_>)],
        line: u32,
    ) {
        let of_module = object.is_none_or(|object| matches!(self.text(object), "glob" | "os" | "shutil"));
        if let Some(object) = object
            && !of_module
        {
            // Methods of a path.
            let (usage, pattern) = match name {
                "iterdir" => (Usage::Listed, None),
                "walk" if positional.is_empty() => (Usage::Walked, None),
                "glob" => (Usage::PathPattern, Some(Vec::new())),
                "rglob" => (Usage::PathPattern, Some(vec![Expr::Text("**".to_owned())])),
                _ => return self.reader_by_name(name, positional, named, line),
            };
            let folder = self.build(object);
            let expr = match pattern {
                None => folder,
                Some(between) => {
                    let last = positional.first().map(|argument| self.build(*argument)).unwrap_or(Expr::Hole);
                    Expr::Join(std::iter::once(folder).chain(between).chain([last]).collect())
                }
            };
            return self.mention(expr, line, usage);
        }
        self.reader_by_name(name, positional, named, line);
    }

    fn reader_by_name(&mut self, name: &str, positional: &[Node<'_>], named: &[(&str, Node<'_>)], line: u32) {
        let Some((_, place, usage)) = FOLDER_READERS.iter().find(|(reader, ..)| *reader == name) else {
            return;
        };
        let keyword =
            || named.iter().find(|(name, _)| FOLDER_KEYWORDS.contains(name)).map(|(_, value)| value);
        let expr = match positional.get(*place).or_else(keyword) {
            Some(argument) => self.build(*argument),
            None if matches!(name, "listdir" | "scandir") && positional.is_empty() => Expr::Cwd,
            None => return,
        };
        self.mention(expr, line, *usage);
    }

    /// `add_argument("--data-dir", default="data")`: what `args.data_dir` is unless an argument says otherwise.
    fn option(&mut self, positional: &[Node<'_>], named: &[(&str, Node<'_>)]) {
        let of = |keyword: &str| named.iter().find(|(name, _)| *name == keyword).map(|(_, value)| *value);
        let Some(default) = of("default") else {
            return;
        };
        let names = positional.iter().filter_map(|argument| match self.build(*argument) {
            Expr::Text(text) => Some(text),
            Expr::File | Expr::Cwd | Expr::Home | Expr::Name(_) | Expr::Attribute(..) | Expr::Join(_) => None,
            Expr::Concat(_) | Expr::Parent(_) | Expr::Suffix(..) | Expr::OneOf(_) | Expr::Hole => None,
        });
        let longest = names.max_by_key(String::len);
        let dest = match of("dest").map(|dest| self.build(dest)) {
            Some(Expr::Text(dest)) => Some(dest),
            Some(_) | None => longest.map(|name| name.trim_start_matches('-').replace('-', "_")),
        };
        if let Some(dest) = dest {
            let expr = self.build(default);
            self.bind(&dest, expr);
        }
    }
}
