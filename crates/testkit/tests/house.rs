//! The module boundaries that ARCHITECTURE.md describes: imports, read from the source.
//!
//! A file imports another file if a path in it (in a `use` or in code) leads there. Imports for tests do not count, nor
//! do the `mod` lines with which a parent declares its children.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Item, ItemMod, ItemUse, Macro, Meta, UseTree,
    visit::{self, Visit},
};

/// A module path below the crate root: `["relay", "state"]`.
type Module = Vec<String>;

const CRATES: [&str; 5] = ["proto", "tcp", "engine", "store", "server"];

#[test]
fn no_file_of_a_crate_imports_in_a_circle() {
    let circles: Vec<String> = CRATES.into_iter().flat_map(|name| House::read(name).circles()).collect();
    assert!(circles.is_empty(), "Move what is shared into a file of its own:\n{}", circles.join("\n"));
}

#[test]
fn folders_of_a_crate_import_in_one_direction() {
    let circles: Vec<String> = CRATES.into_iter().flat_map(|name| House::read(name).folders().circles()).collect();
    assert!(circles.is_empty(), "Move the shared part into a folder below both:\n{}", circles.join("\n"));
}

#[test]
fn the_module_map_matches_the_source() {
    /// Folders with one file per item, which the map does not list individually.
    const LISTS: [&str; 2] = ["entity", "migration"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("is readable");
    let map = text.split("```").nth(1).expect("is the first code block");
    let mut wrong = Vec::new();
    for name in CRATES {
        let words: BTreeSet<&str> = words_of(map, name).collect();
        for module in House::read(name)
            .files
            .keys()
            .filter(|module| !LISTS.iter().any(|list| module.starts_with(&[(*list).to_owned()])))
        {
            if module.last().is_some_and(|last| !words.contains(last.as_str())) {
                wrong.push(format!("{name} has {}", module.join("/")));
            }
        }
    }
    for path in text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|path| path.contains("/src/") && !path.contains(['*', '{']))
    {
        if !root.join("crates").join(path).exists() && !root.join(path).exists() {
            wrong.push(format!("there is no {path}"));
        }
    }
    assert!(wrong.is_empty(), "ARCHITECTURE.md does not match the source: {wrong:#?}");
}

/// The words of a crate in the map: from its line to the next line with the same indentation.
fn words_of<'a>(map: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let head = format!("  {name}/src/");
    let lines = map.lines().skip_while(move |line| !line.starts_with(&head));
    let lines = lines.enumerate().take_while(|(n, line)| *n == 0 || line.starts_with("   ")).map(|(_, line)| line);
    lines.flat_map(|line| line.split(|sign: char| !(sign.is_alphanumeric() || sign == '_')))
}

/// The modules of a crate and their imports.
#[derive(Default)]
struct House {
    name: String,
    /// The source file of each module.
    files: BTreeMap<Module, PathBuf>,
    imports: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

impl House {
    fn read(name: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        let mut house = Self { name: name.to_owned(), ..Self::default() };
        let roots = ["lib.rs", "main.rs"].map(|root| source.join(root));
        for root in roots.iter().filter(|root| root.exists()) {
            let mut files = Vec::new();
            find_modules(root, &source, Module::new(), &mut files);
            house.files.extend(files.iter().map(|(module, path, _)| (module.clone(), path.clone())));
            for (module, path, items) in files {
                let mut found = Imports::new(&house.files, module);
                found.bind(&items);
                items.iter().for_each(|item| found.visit_item(item));
                found.to.remove(&path);
                house.imports.entry(path).or_default().extend(found.to);
            }
        }
        assert!(house.files.len() > 1 || name == "tcp", "{name} has modules");
        house
    }

    /// The same with the files below each top-level module merged.
    fn folders(&self) -> Self {
        let folder = |path: &PathBuf| {
            let short = self.short(path);
            PathBuf::from(format!("/src/{}", short.split('/').next().unwrap_or_default()))
        };
        let mut folders = Self { name: self.name.clone(), ..Self::default() };
        for (from, to) in &self.imports {
            let imports = folders.imports.entry(folder(from)).or_default();
            imports.extend(to.iter().map(folder).filter(|to| *to != folder(from)));
        }
        folders
    }

    /// Files that import themselves indirectly: one entry per group of files that import each other.
    fn circles(&self) -> Vec<String> {
        let reached: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> =
            self.imports.keys().map(|file| (file, self.reached(file))).collect();
        let mut left: BTreeSet<&PathBuf> =
            reached.iter().filter(|(file, to)| to.contains(*file)).map(|(file, _)| *file).collect();
        let mut lines = Vec::new();
        while let Some(first) = left.pop_first() {
            let group: BTreeSet<&PathBuf> =
                reached[first].iter().copied().filter(|to| reached[*to].contains(first)).collect();
            left.retain(|file| !group.contains(file));
            let edges = group.iter().map(|from| {
                let to = self.imports[*from].iter().filter(|to| group.contains(to)).map(|to| self.short(to));
                format!("    {} → {}", self.short(from), to.collect::<Vec<_>>().join(" "))
            });
            lines.push(format!("  {} files of {}:\n{}", group.len(), self.name, edges.collect::<Vec<_>>().join("\n")));
        }
        lines
    }

    fn reached<'a>(&'a self, from: &'a PathBuf) -> BTreeSet<&'a PathBuf> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            open.extend(self.imports.get(file).into_iter().flatten().filter(|to| reached.insert(*to)));
        }
        reached
    }

    fn short(&self, path: &Path) -> String {
        let text = path.to_string_lossy();
        text.split_once("/src/")
            .map_or(text.to_string(), |(_, short)| short.trim_end_matches(".rs").to_owned())
    }
}

/// Every module from `file` on, with its items. Inline modules belong to their file.
fn find_modules(file: &Path, folder: &Path, module: Module, into: &mut Vec<(Module, PathBuf, Vec<Item>)>) {
    let text = fs::read_to_string(file).expect("is readable");
    let items = syn::parse_file(&text).expect("is Rust").items;
    for item in &items {
        let Item::Mod(ItemMod { attrs, ident, content: None, .. }) = item else { continue };
        if is_for_tests(attrs) {
            continue;
        }
        let name = ident.to_string();
        let inner = folder.join(&name);
        let path = [folder.join(format!("{name}.rs")), inner.join("mod.rs")].into_iter().find(|path| path.exists());
        let child = [module.clone(), vec![name]].concat();
        find_modules(&path.expect("has a file"), &inner, child, into);
    }
    into.push((module, file.to_owned(), items));
}

/// Whether an attribute is `cfg(test)`, alone or combined with other conditions.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let Ok(condition) = attribute.parse_args::<Meta>() else { return false };
        match condition {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("all") => {
                list.tokens.into_iter().any(|token| token.to_string() == "test")
            }
            _ => false,
        }
    })
}

/// The imports of one file.
struct Imports<'a> {
    files: &'a BTreeMap<Module, PathBuf>,
    module: Module,
    /// Modules that have a name in this file.
    names: BTreeMap<String, Module>,
    to: BTreeSet<PathBuf>,
}

impl<'a> Imports<'a> {
    fn new(files: &'a BTreeMap<Module, PathBuf>, module: Module) -> Self {
        Self { files, module, names: BTreeMap::new(), to: BTreeSet::new() }
    }

    /// Records the names of modules that are declared or imported here.
    fn bind(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Mod(declared) if declared.content.is_none() => {
                    let name = declared.ident.to_string();
                    self.names.insert(name.clone(), [self.module.clone(), vec![name]].concat());
                }
                Item::Use(import) if !is_for_tests(&import.attrs) => {
                    for (path, name) in paths(&import.tree) {
                        if let Some(module) =
                            self.resolve(&path).filter(|(_, rest)| *rest == 0).map(|(module, _)| module)
                        {
                            self.names.insert(name, module);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// The innermost module of a path, and the number of path segments after it.
    fn resolve(&self, path: &[String]) -> Option<(Module, usize)> {
        let mut path = path.to_vec();
        let mut module = match path.first()?.as_str() {
            "crate" => Module::new(),
            "self" => self.module.clone(),
            "super" => self.module.split_last()?.1.to_vec(),
            name => self.names.get(name)?.clone(),
        };
        path.remove(0);
        while path.first().is_some_and(|name| name == "super") {
            module.pop();
            path.remove(0);
        }
        while let Some(name) = path.first() {
            let inner = [module.clone(), vec![name.clone()]].concat();
            if !self.files.contains_key(&inner) {
                break;
            }
            module = inner;
            path.remove(0);
        }
        Some((module, path.len()))
    }

    fn add(&mut self, path: &[String]) {
        let Some((module, rest)) = self.resolve(path) else { return };
        // A path that ends at a module only names it here; its use is another path.
        if rest > 0
            && let Some(file) = self.files.get(&module)
        {
            self.to.insert(file.clone());
        }
    }
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for (path, _) in paths(&item.tree) {
            self.add(&path);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.add(&names);
        }
        visit::visit_path(self, path);
    }

    /// Macro arguments are tokens: paths in them are recognised by their colons.
    fn visit_macro(&mut self, called: &'ast Macro) {
        let text = called.tokens.to_string().replace(" :: ", "::");
        for word in text.split(|sign: char| !(sign.is_alphanumeric() || sign == '_' || sign == ':')) {
            let names: Vec<String> = word.split("::").map(str::to_owned).collect();
            if names.len() > 1 {
                self.add(&names);
            }
        }
        visit::visit_macro(self, called);
    }
}

/// Every path of a `use`, with the name that it introduces.
fn paths(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    match tree {
        UseTree::Path(path) => {
            let first = path.ident.to_string();
            let inner = paths(&path.tree).into_iter();
            inner
                .map(|(rest, name)| match rest.as_slice() {
                    [this] if this == "self" => {
                        (vec![first.clone()], if name == "self" { first.clone() } else { name })
                    }
                    _ => ([vec![first.clone()], rest].concat(), name),
                })
                .collect()
        }
        UseTree::Name(name) => vec![(vec![name.ident.to_string()], name.ident.to_string())],
        UseTree::Rename(rename) => vec![(vec![rename.ident.to_string()], rename.rename.to_string())],
        UseTree::Glob(_) => vec![(vec!["*".to_owned()], String::new())],
        UseTree::Group(group) => group.items.iter().flat_map(paths).collect(),
    }
}
