//! The house rules of the source tree: no import of a higher layer, no circle between files, short files, a door plate in
//! each, unique file names, plain sentences. The table of layers is in DESIGN.md, under "Layers".
//!
//! `HOUSE=src/net cargo test --test house` checks one room alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// File names that occur more than once, and why.
const SAME_NAMES: &[(&str, &str)] = &[
    ("mod.rs", "the file of a folder"),
    ("tests.rs", "unit tests of a file that would be too long with them"),
    ("switch.rs", "one for each processor"),
    ("syscall.rs", "one for each processor"),
    ("thread_pointer.rs", "one for each processor"),
    ("prefetch.rs", "one for each processor, and the hub's use of them"),
    ("event.rs", "between processes: in shared memory, and in a manager"),
    ("queue.rs", "between processes: in shared memory, and in a manager"),
    ("semaphore.rs", "between processes: in shared memory, and in a manager"),
];

/// Source files by path.
type Tree = BTreeMap<String, String>;
/// The files that each file imports.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn read_tree(dirs: &[&str], ending: &str) -> Tree {
    fn walk(root: &Path, dir: &Path, ending: &str, tree: &mut Tree) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !name.starts_with("target") && !name.contains("/target") {
                walk(root, &path, ending, tree);
            } else if name.ends_with(ending) {
                tree.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let (root, mut tree) = (Path::new(env!("CARGO_MANIFEST_DIR")), Tree::new());
    dirs.iter().for_each(|dir| walk(root, &root.join(dir), ending, &mut tree));
    tree
}

/// Returns the lines of a file without its module of unit tests.
fn without_tests(source: &str) -> Vec<&str> {
    let (mut kept, mut lines) = (Vec::new(), source.lines().peekable());
    while let Some(line) = lines.next() {
        let is_tests = line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
        if is_tests && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{')) {
            lines.by_ref().find(|line| line.starts_with('}'));
        } else {
            kept.push(line);
        }
    }
    kept
}

/// Returns the module path of a file: `src/hub/park.rs` is `hub::park`, `src/hub/mod.rs` is `hub`.
fn module_of(path: &str) -> Vec<&str> {
    let path = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    path.split('/').filter(|part| !["mod", "lib"].contains(part)).collect()
}

/// Expands `a::{b, c::{d, e}}` to `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or(tree).trim().to_owned()];
    };
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for letter in rest[..rest.rfind('}').expect("braces are closed")].chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        match letter {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().expect("there is one").push(letter),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(part)).map(|part| format!("{}{part}", prefix.trim())).collect()
}

/// Returns the paths that a file names: in its `use` lines, and elsewhere.
fn paths(source: &str) -> Vec<String> {
    let code: Vec<&str> =
        without_tests(source).iter().map(|line| line.split("//").next().unwrap_or("")).collect();
    let (code, mut paths, mut rest) = (code.join("\n"), Vec::new(), String::new());
    for statement in code.split_inclusive(';') {
        let start = statement.match_indices("use ").map(|(at, _)| at).find(|&at| {
            let before = statement[..at].trim_end_matches(' ');
            before.is_empty() || before.ends_with(['\n', '}', '{', ')']) || before.ends_with("pub")
        });
        match start {
            Some(at) if statement.ends_with(';') => {
                rest.push_str(&statement[..at]);
                paths.extend(expand(&statement[at + 4..statement.len() - 1]));
            }
            _ => rest.push_str(statement),
        }
    }
    let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':' || letter == '$';
    paths.extend(rest.split(|letter| !is_path(letter)).filter(|path| path.contains("::")).map(str::to_owned));
    paths
}

/// Returns the module path that a path in a file means, if it means one of this crate.
fn target_of(path: &str, module: &[&str], children: &BTreeSet<String>) -> Option<Vec<String>> {
    let parts: Vec<String> = path.split("::").map(|part| part.trim().to_owned()).collect();
    let own = || module.iter().map(|&part| part.to_owned());
    Some(match parts[0].as_str() {
        "crate" => parts[1..].to_vec(),
        "self" => own().chain(parts[1..].to_vec()).collect(),
        "super" => {
            let ups = parts.iter().take_while(|part| *part == "super").count();
            own().take(module.len().saturating_sub(ups)).chain(parts[ups..].to_vec()).collect()
        }
        first if children.contains(first) => own().chain(parts).collect(),
        _ => return None,
    })
}

fn imports(tree: &Tree) -> Graph {
    let modules: BTreeMap<Vec<&str>, &String> = tree.keys().map(|path| (module_of(path), path)).collect();
    let find = |target: &[String]| {
        let target: Vec<&str> = target.iter().map(String::as_str).collect();
        (0..=target.len()).rev().find_map(|len| modules.get(&target[..len]).copied())
    };
    let of_file = |path: &String, source: &str| {
        let declared = without_tests(source).into_iter().filter_map(|line| {
            let (_, name) = line.trim_end_matches(';').split_once("mod ")?;
            (line.ends_with(';') && !line.contains("//")).then(|| name.to_owned())
        });
        let (module, children) = (module_of(path), declared.collect());
        let targets = paths(source).into_iter().filter_map(|name| target_of(&name, &module, &children));
        targets.filter_map(|target| find(&target)).filter(|&target| target != path).cloned().collect()
    };
    let files = tree.iter().filter(|(path, _)| !path.ends_with("tests.rs"));
    files.map(|(path, source)| (path.clone(), of_file(path, source))).collect()
}

/// Returns the rows of the table of layers, the lowest first: name and path.
fn layers(design: &str) -> Vec<(String, String)> {
    let section =
        design.split("\n## ").find(|section| section.starts_with("Layers\n")).expect("DESIGN.md: Layers");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let mut spans = row.split('`');
        let (name, path) = (spans.next().unwrap(), spans.nth(1).expect("a row has a name and a path"));
        (name.to_owned(), path.to_owned())
    })
    .collect()
}

fn upward_imports(graph: &Graph, layers: &[(String, String)]) -> Vec<String> {
    let layer = |path: &String| layers.iter().position(|(_, prefix)| path.starts_with(prefix));
    let mut found = Vec::new();
    for (path, targets) in graph {
        let Some(own) = layer(path) else {
            found.push(format!("{path} is in no layer of DESIGN.md"));
            continue;
        };
        for target in targets.iter().filter(|target| layer(target).is_some_and(|layer| layer > own)) {
            found.push(format!("{path} imports {target}, which is in a higher layer"));
        }
    }
    found
}

fn circles(graph: &Graph) -> Vec<String> {
    let reachable = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(path) = next.pop() {
            next.extend(graph[path].iter().filter(|target| seen.insert((*target).clone())));
        }
        seen
    };
    let all: BTreeMap<&String, BTreeSet<String>> = graph.keys().map(|path| (path, reachable(path))).collect();
    let circle = |path: &String| {
        all[path].iter().filter(|other| all[other].contains(path)).cloned().collect::<Vec<_>>()
    };
    let found =
        graph.keys().map(|path| (path, circle(path))).filter(|(path, circle)| circle.first() == Some(*path));
    found.map(|(_, circle)| format!("{}: a circle of imports", circle.join(" "))).collect()
}

fn long_files(tree: &Tree) -> Vec<String> {
    let lines = tree
        .iter()
        .filter(|(path, _)| !path.ends_with("tests.rs"))
        .map(|(path, source)| (path, without_tests(source).len()));
    lines.filter(|&(_, lines)| lines > 400).map(|(path, lines)| format!("{path} has {lines} lines")).collect()
}

/// A door plate is the comment at the top of a file. It names the file to read next, which must be there.
fn door_plates(tree: &Tree) -> Vec<String> {
    let problem = |source: &String| {
        let next = source
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .find_map(|line| line.strip_prefix("//! Next: "));
        let Some(next) = next.and_then(|next| next.split('`').nth(1)) else {
            return Some("has no door plate with a line `Next:`".to_owned());
        };
        let is_there = tree.contains_key(next)
            || tree.contains_key(&format!("src/{next}"))
            || Path::new(env!("CARGO_MANIFEST_DIR")).join(next).exists();
        (!is_there).then(|| format!("names `{next}` as the next file, which is not there"))
    };
    let files = tree.iter().filter(|(path, _)| !path.ends_with("tests.rs"));
    files.filter_map(|(path, source)| Some(format!("{path} {}", problem(source)?))).collect()
}

fn same_names(tree: &Tree) -> Vec<String> {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    tree.keys().for_each(|path| names.entry(path.rsplit('/').next().unwrap()).or_default().push(path));
    let is_listed = |name: &str| SAME_NAMES.iter().any(|(listed, _)| *listed == name);
    let twice = names.into_iter().filter(|(name, paths)| paths.len() > 1 && !is_listed(name));
    twice.map(|(_, paths)| format!("{}: the same name", paths.join(" "))).collect()
}

/// Lines whose subject is a pronoun, or whose verb is one of the words that readers stumbled over.
fn riddles(tree: &Tree) -> Vec<String> {
    let is_riddle = |line: &str| {
        let text = line.trim_start();
        let comment = ["/// ", "//! ", "// "].iter().find_map(|mark| text.strip_prefix(mark));
        let words: Vec<&str> =
            text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
        comment.is_some_and(|text| {
            ["Who ", "What ", "Those ", "That "].iter().any(|word| text.starts_with(word))
        }) || words.contains(&"Answers")
            || words
                .windows(2)
                .any(|pair| matches!(pair, ["who", "runs" | "calls" | "waits"] | ["is" | "are", "told"]))
    };
    let lines = tree.iter().flat_map(|(path, text)| text.lines().enumerate().map(move |line| (path, line)));
    let found = lines.filter(|(path, (_, line))| *path != "tests/house.rs" && is_riddle(line));
    found.map(|(path, (n, line))| format!("{path}:{}: {}", n + 1, line.trim())).collect()
}

/// Fails if there are problems; if a room is chosen, only problems of its files count.
fn check(rule: &str, mut problems: Vec<String>) {
    if let Ok(room) = std::env::var("HOUSE") {
        problems.retain(|problem| problem.split([' ', ':']).any(|word| word.starts_with(&room)));
    }
    assert!(problems.is_empty(), "{rule}: {}\n  {}", problems.len(), problems.join("\n  "));
}

/// Folder of the crate of processes.
const PROCESS: &str = "crates/greenline-process/";

fn sources() -> Tree {
    read_tree(&["arch", "src"], ".rs")
}

/// Returns the sources of the crate of processes, by their paths in that crate.
fn process_sources() -> Tree {
    let tree = read_tree(&["crates/greenline-process/src"], ".rs");
    tree.into_iter().map(|(path, source)| (path[PROCESS.len()..].to_owned(), source)).collect()
}

/// Returns the problems of both crates.
fn in_both(find: impl Fn(&Tree) -> Vec<String>) -> Vec<String> {
    let of_process = find(&process_sources()).into_iter().map(|problem| format!("{PROCESS}{problem}"));
    find(&sources()).into_iter().chain(of_process).collect()
}

#[test]
fn imports_go_down_the_layers_of_the_design() {
    let design = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("DESIGN.md")).unwrap();
    check("imports of a higher layer", upward_imports(&imports(&sources()), &layers(&design)));
}

#[test]
fn imports_between_files_have_no_circle() {
    check("circles", in_both(|tree| circles(&imports(tree))));
}

#[test]
fn source_files_have_at_most_400_lines() {
    check("long files", in_both(long_files));
}

#[test]
fn source_files_have_a_door_plate() {
    check("door plates", in_both(door_plates));
}

#[test]
fn source_files_have_unique_names() {
    check("names", in_both(same_names));
}

#[test]
fn comments_are_plain_sentences() {
    let mut tree = read_tree(&["arch", "src", "tests", "examples", "crates", "benches"], ".rs");
    tree.extend(read_tree(&["tests", "examples", "docs/src"], ".md"));
    tree.extend(["README.md", "DESIGN.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| {
        (name.to_owned(), std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap())
    }));
    check("riddles", riddles(&tree));
}

fn planted(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|&(path, source)| (path.to_owned(), source.to_owned())).collect()
}

#[test]
fn upward_imports_and_circles_finds_planted_ones() {
    let tree = planted(&[
        ("src/lib.rs", "mod hub;\npub use hub::Hub;\n"),
        ("src/hub/mod.rs", "mod park;\npub(crate) use park::{Hub, f as g};\n"),
        (
            "src/hub/park.rs",
            "use crate::ids;\n// use crate::net::x;\n#[cfg(test)]\nmod tests {\n    use crate::net;\n}\n",
        ),
        ("src/ids.rs", "use std::fmt;\nfn f() {\n    crate::net::tcp::g();\n}\n"),
        ("src/net/mod.rs", "mod tcp;\n"),
        ("src/net/tcp.rs", "use super::{super::hub::{Hub, park::g}, T};\nuse crate::Root;\n"),
    ]);
    let design = "# D\n\n## Layers\n\n| `ids` | `src/ids.rs` | x |\n| `hub` | `src/hub/` | x |\n| `net` | `src/net/` | x |\n\
                  | `lib` | `src/lib.rs` | x |\n\n## Next\n";
    let (graph, layers) = (imports(&tree), layers(design));
    assert_eq!(
        upward_imports(&graph, &layers),
        [
            "src/ids.rs imports src/net/tcp.rs, which is in a higher layer",
            "src/net/tcp.rs imports src/lib.rs, which is in a higher layer"
        ]
    );
    assert_eq!(
        circles(&graph),
        ["src/hub/mod.rs src/hub/park.rs src/ids.rs src/lib.rs src/net/tcp.rs: a circle of imports"]
    );
    assert_eq!(upward_imports(&graph, &layers[1..])[0], "src/ids.rs is in no layer of DESIGN.md");
    let child = planted(&[
        ("src/hub/mod.rs", "mod park;\nfn f() { park::g() }\n"),
        ("src/hub/park.rs", "use super::f;\n"),
    ]);
    assert_eq!(circles(&imports(&child)), ["src/hub/mod.rs src/hub/park.rs: a circle of imports"]);
}

#[test]
fn long_files_door_plates_and_same_names_finds_planted_ones() {
    let plate = "//! One concept.\n//!\n//! Next: `hub/park.rs`.\n";
    let (long, tests) =
        ("x\n".repeat(398), format!("{plate}#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(400)));
    let tree = planted(&[
        ("src/hub/park.rs", &format!("{plate}{long}")),
        ("src/net/park.rs", &tests),
        ("src/ids.rs", "//! No next.\n"),
        ("src/time.rs", "//! Next: `nowhere.rs`.\n"),
        ("src/late.rs", "use x;\n//! Next: `ids.rs`.\n"),
    ]);
    assert_eq!(long_files(&tree), ["src/hub/park.rs has 401 lines"]);
    assert_eq!(
        door_plates(&tree),
        [
            "src/ids.rs has no door plate with a line `Next:`",
            "src/late.rs has no door plate with a line `Next:`",
            "src/time.rs names `nowhere.rs` as the next file, which is not there",
        ]
    );
    assert_eq!(same_names(&tree), ["src/hub/park.rs src/net/park.rs: the same name"]);
}

#[test]
fn riddles_finds_planted_ones() {
    let bad = [
        "    /// Who runs.",
        "//! What is left.",
        "// That is it.",
        "/// Those.",
        "/// It Answers.",
        "x // who waits",
        "it is told of",
    ];
    let good = ["let who = runs;", "/// Returns what is left.", "/// Whose", "is_told()", "/// The answers"];
    let text = |lines: &[&str]| planted(&[("src/x.rs", &lines.join("\n"))]);
    // "Those." does not match: the pattern asks for a space.
    assert_eq!(riddles(&text(&bad)).len(), bad.len() - 1);
    assert_eq!(riddles(&text(&good)), [""; 0]);
}
