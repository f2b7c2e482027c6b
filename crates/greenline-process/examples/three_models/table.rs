//! The figures as a table of text.

use super::figure::{Crashes, Figure, NAMES};

const FIRST: usize = 44;
const REST: usize = 22;

/// Prints all figures to stdout.
pub(crate) fn print(machine: &str, figures: &[Figure], crashes: &Crashes) {
    println!("{machine}\n");
    line("", &NAMES.map(str::to_owned));
    for figure in figures {
        for series in &figure.series {
            let name = match series.name {
                "" => figure.title.to_owned(),
                name => format!("{}: {name}", figure.title),
            };
            line(&name, &series.values.clone().map(|value| value.text));
        }
    }
    for (what, ends) in &crashes.rows {
        line(&format!("{what} takes down"), ends);
    }
}

/// Prints one row. Text that does not fit into a column continues in the next line.
fn line(first: &str, rest: &[String; 3]) {
    let mut columns = [
        wrapped(first, FIRST - 2),
        wrapped(&rest[0], REST - 2),
        wrapped(&rest[1], REST - 2),
        wrapped(&rest[2], REST - 2),
    ];
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    columns.iter_mut().for_each(|column| column.resize(height, String::new()));
    let [first, one, two, three] = columns;
    for row in 0..height {
        println!("{:<FIRST$}{:>REST$}{:>REST$}{:>REST$}", first[row], one[row], two[row], three[row]);
    }
}

/// Returns the text in lines, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
