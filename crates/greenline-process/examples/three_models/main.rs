//! Runs the same functions as green threads, as OS threads and as processes, and compares them: in a table, and in a page
//! of plots. Every figure is measured in the run.
//!
//! Run with: `cargo run --release --example three_models -- [--quick] [--html PAGE]`
//!
//! | file         | is about                                                     |
//! |--------------|--------------------------------------------------------------|
//! | `work.rs`    | the functions of the workers, which are the same for all models |
//! | `measure.rs` | the measurements, which take any model                        |
//! | `lab.rs`     | the process of its own in which each figure is taken          |
//! | `kernel.rs`  | system calls and files of `/proc`                            |
//! | `figure.rs`  | the figures, ready to be shown                               |
//! | `report.rs`  | from measurements to figures, with a sentence on each        |
//! | `table.rs`, `page.rs`, `page.css`, `plot.rs` | the output                  |

mod figure;
mod kernel;
mod lab;
mod measure;
mod page;
mod plot;
mod report;
mod table;
mod work;

use indicatif::{ProgressBar, ProgressStyle};
use lab::Effort;
use std::path::PathBuf;
use std::process::exit;

fn main() {
    let (quick, html) = arguments().unwrap_or_else(|wrong| {
        eprintln!("{wrong}\nusage: three_models [--quick] [--html PAGE]");
        exit(2)
    });
    let effort = Effort { quick, rounds_per_microsecond: work::rounds_per_microsecond().max(1) };
    let bar = progress();
    let taken = report::take_all(effort, |what| {
        bar.set_message(what.to_owned());
        bar.inc(1);
    });
    bar.finish_and_clear();

    let machine = kernel::machine();
    table::print(&machine, &taken.figures, &taken.crashes);
    if let Some(path) = html {
        let page = page::page(&machine, &taken.figures, &taken.crashes, &taken.timelines);
        if let Err(error) = std::fs::write(&path, page) {
            eprintln!("{}: {error}", path.display());
            exit(1);
        }
        println!("\nplots: {}", path.display());
    }
}

/// Returns a progress bar, which is visible on a terminal only. It has no OS thread of its own, because a process with
/// several OS threads cannot start processes.
fn progress() -> ProgressBar {
    let bar = ProgressBar::new(report::STEPS);
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").expect("a template without mistakes");
    bar.with_style(style)
}

fn arguments() -> Result<(bool, Option<PathBuf>), String> {
    let (mut quick, mut html) = (false, None);
    let mut given = std::env::args_os().skip(1);
    while let Some(argument) = given.next() {
        match argument.to_str() {
            Some("--quick") => quick = true,
            Some("--html") => html = Some(given.next().ok_or("--html needs the name of a file")?.into()),
            _ => return Err(format!("unexpected argument '{}'", argument.to_string_lossy())),
        }
    }
    Ok((quick, html))
}
