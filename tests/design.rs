//! The documents cite code as `path: name` between backticks. For each citation, the file must exist and declare the name.
//! Every source file must be cited by some chapter of the book.

use std::collections::BTreeSet;
use std::path::Path;

/// Source files that no chapter cites, and why.
const UNCITED: &[(&str, &str)] = &[];

/// Returns the spans between backticks outside of fenced blocks. A line break in a span counts as a space.
fn spans(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.push_str(line.trim());
            prose.push(' ');
        }
    }
    assert!(
        !fenced && prose.matches('`').count() % 2 == 0,
        "an odd number of fences or backticks in a document that begins with: {}",
        text.lines().next().unwrap_or_default()
    );
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns the citations: a source file, and a name in it.
fn citations(text: &str) -> Vec<(String, String)> {
    let is_source = |path: &str| path.ends_with(".rs") || path.ends_with(".s");
    let cited = spans(text).into_iter().filter_map(|span| {
        let (path, name) = span.split_once(": ")?;
        is_source(path).then(|| (path.to_owned(), name.trim().to_owned()))
    });
    cited.collect()
}

/// Returns where `word` stands alone: the part of the line before it, and the part after it.
fn places<'a>(source: &'a str, word: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    source.lines().flat_map(move |line| {
        line.match_indices(word)
            .map(move |(at, _)| (&line[..at], &line[at + word.len()..]))
            .filter(move |(before, after)| !before.ends_with(is_part) && !after.starts_with(is_part))
    })
}

/// Returns whether `source` declares `word` as an item, a macro, a field, an assembly label, or a variant.
fn declares(source: &str, word: &str) -> bool {
    const ITEMS: [&str; 9] =
        ["fn ", "struct ", "enum ", "trait ", "const ", "static ", "type ", "mod ", "macro_rules! "];
    let is_name = word.starts_with(char::is_uppercase);
    places(source, word).any(|(before, after)| {
        let first = before.trim().is_empty() || before.trim() == "pub" || before.trim().ends_with(')');
        let is_variant = is_name && before.trim().is_empty() && after.starts_with(['(', ',', ' ']);
        !before.trim_start().starts_with("//")
            && (ITEMS.iter().any(|item| before.ends_with(item))
                || (first && after.starts_with(':') && !after.starts_with("::"))
                || is_variant)
    })
}

/// Returns the stale citations in `text`, one line each.
fn stale(text: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let wrong = citations(text).into_iter().filter_map(|(path, name)| {
        let Ok(source) = std::fs::read_to_string(root.join(&path)) else {
            return Some(format!("`{path}: {name}`: no such file"));
        };
        let (outer, last) = name.rsplit_once("::").unwrap_or(("", &name));
        let knows_outer =
            outer.is_empty() || outer.split("::").all(|part| places(&source, part).next().is_some());
        (!declares(&source, last) || !knows_outer).then(|| format!("`{path}: {name}`: not declared there"))
    });
    wrong.collect()
}

/// Returns the paths in `text` at which there is no file. These are citations without a name.
fn missing(text: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rooms = ["src/", "arch/", "tests/", "examples/", "benches/", "crates/"];
    let is_path = |span: &String| rooms.iter().any(|room| span.starts_with(room)) && !span.contains(' ');
    spans(text).into_iter().filter(|span| is_path(span) && !root.join(span).exists()).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the chapters of the book, in the order of their names: path and text.
fn chapters() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(root().join("docs/src")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.filter(|name| name.ends_with(".md")).collect();
    names.into_iter().map(|name| document(format!("docs/src/{name}"))).collect()
}

fn document(path: String) -> (String, String) {
    let text = std::fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    (path, text)
}

/// Returns the files with names that end in `.rs` or `.s` in a folder and the folders in it.
fn sources(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).unwrap().map(Result::unwrap) {
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        match entry.path().is_dir() {
            true => found.extend(sources(&path)),
            false if path.ends_with(".rs") || path.ends_with(".s") => found.push(path),
            false => {}
        }
    }
    found
}

/// Returns the files of `all` that no document names, neither alone nor in a citation.
fn uncited(all: &[String], documents: &[(String, String)]) -> Vec<String> {
    let mut named = BTreeSet::new();
    for span in documents.iter().flat_map(|(_, text)| spans(text)) {
        named.insert(span.split_once(": ").map_or(span.clone(), |(path, _)| path.to_owned()));
    }
    all.iter().filter(|path| !named.contains(*path)).cloned().collect()
}

/// Returns the targets of links `[text](target)` to documents beside `text`.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let targets = targets.map(|(target, _)| target.split('#').next().unwrap_or_default().to_owned());
    targets.filter(|target| target.ends_with(".md") && !target.contains(':')).collect()
}

#[test]
fn citations_of_all_documents_hit() {
    let names = ["DESIGN.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let documents = names.map(|name| document(name.to_owned())).into_iter().chain(chapters());
    let mut wrong = Vec::new();
    for (path, text) in documents {
        wrong.extend(stale(&text).into_iter().map(|citation| format!("{path}: {citation}")));
        wrong.extend(missing(&text).into_iter().map(|file| format!("{path}: `{file}`: no such file")));
    }
    assert!(wrong.is_empty(), "stale citations:\n  {}", wrong.join("\n  "));
}

#[test]
fn citations_are_found_in_every_numbered_chapter() {
    let numbered =
        chapters().into_iter().filter(|(path, _)| path["docs/src/".len()..].starts_with(char::is_numeric));
    let few: Vec<String> =
        numbered.filter(|(_, text)| citations(text).len() < 10).map(|(path, _)| path).collect();
    assert!(few.is_empty(), "hardly a citation: has their form changed? {few:?}");
}

#[test]
fn sources_are_each_cited_by_a_chapter() {
    let all: Vec<String> = ["src", "crates/greenline-process/src"].into_iter().flat_map(sources).collect();
    let mut left = uncited(&all, &chapters());
    left.retain(|path| !UNCITED.iter().any(|(listed, _)| listed == path));
    assert!(left.is_empty(), "no chapter cites:\n  {}", left.join("\n  "));
}

#[test]
fn summary_lists_every_chapter_and_links_hit() {
    let chapters = chapters();
    let (_, summary) = document("docs/src/SUMMARY.md".to_owned());
    let listed = links(&summary);
    for (path, text) in &chapters {
        let name = &path["docs/src/".len()..];
        assert!(
            name == "SUMMARY.md" || listed.iter().any(|link| link == name),
            "{name} is not in SUMMARY.md"
        );
        for link in links(text) {
            assert!(
                root().join("docs/src").join(&link).exists(),
                "{path} links to {link}, which is not there"
            );
        }
    }
    for name in ["DESIGN.md", "README.md", "CONTRIBUTING.md"] {
        for link in links(&document(name.to_owned()).1) {
            assert!(root().join(&link).exists(), "{name} links to {link}, which is not there");
        }
    }
}

#[test]
fn stale_finds_planted_citations() {
    let planted = "A good one: `src/stack.rs: install_guards`. One of no file: `src/nowhere.rs: f`. One\n\
        broken over lines: `src/stack.rs:\nno_such_function`. One that is only called there, or told of in a\n\
        comment: `src/stack.rs: mmap`, `src/stack.rs: mprotect`.\n```text\n`src/not_seen.rs: x`\n```\n";
    assert_eq!(
        stale(planted),
        [
            "`src/nowhere.rs: f`: no such file",
            "`src/stack.rs: no_such_function`: not declared there",
            "`src/stack.rs: mmap`: not declared there",
            "`src/stack.rs: mprotect`: not declared there",
        ]
    );
}

#[test]
fn missing_uncited_and_links_find_planted_ones() {
    let text =
        "See `src/nowhere.rs`, `src/stack.rs`, `src/ids.rs: Ticket`, [a](01-x.md#y), [b](https://x/z.md)."
            .to_owned();
    assert_eq!(missing(&text), ["src/nowhere.rs"]);
    assert_eq!(links(&text), ["01-x.md"]);
    let all = ["src/stack.rs", "src/ids.rs", "src/lib.rs"].map(str::to_owned);
    assert_eq!(uncited(&all, &[("x.md".to_owned(), text)]), ["src/lib.rs"]);
    assert!(sources("src").contains(&"src/hub/mod.rs".to_owned()));
}
