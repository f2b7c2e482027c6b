//! DESIGN.md cites code as `path: name` between backticks. For each citation, the file must exist and declare the name.

use std::path::Path;

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
        "DESIGN.md has an odd number of fences or backticks"
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
    let rooms = ["src/", "arch/", "tests/", "examples/"];
    let is_path = |span: &String| rooms.iter().any(|room| span.starts_with(room)) && !span.contains(' ');
    spans(text).into_iter().filter(|span| is_path(span) && !root.join(span).exists()).collect()
}

fn design() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("DESIGN.md")).unwrap()
}

#[test]
fn design_citations_hit() {
    let text = design();
    let (stale, missing) = (stale(&text), missing(&text));
    assert!(stale.is_empty(), "stale citations in DESIGN.md:\n  {}", stale.join("\n  "));
    assert!(missing.is_empty(), "DESIGN.md names files that are not there: {missing:?}");
}

#[test]
fn design_cites_its_code() {
    let found = citations(&design()).len();
    assert!(found >= 40, "only {found} citations: has their form changed?");
}

#[test]
fn design_stale_citation_is_found() {
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
