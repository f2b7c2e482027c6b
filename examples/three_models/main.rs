//! The same functions as green threads, as OS threads and as processes, and what that makes of them: a table, and a page
//! of plots. Nothing is taken from elsewhere; every figure is measured in the run.
//!
//! Run with: `cargo run --release --example three_models -- [--quick] [--html PAGE]`
//!
//! | file         | is about                                                     |
//! |--------------|--------------------------------------------------------------|
//! | `work.rs`    | what the workers do; nothing there knows what they are        |
//! | `measure.rs` | the figures: each does the same with whichever model          |
//! | `lab.rs`     | the process of its own in which each figure is taken          |
//! | `kernel.rs`  | what the kernel is asked                                     |
//! | `figure.rs`  | what was measured, ready to be shown                         |
//! | `report.rs`  | from measurements to figures, and what is to be seen in them |
//! | `table.rs`, `page.rs`, `page.css`, `plot.rs` | how it is shown             |

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

/// On a terminal; elsewhere it is not seen. It has no OS thread of its own: there must be only one where processes are
/// started.
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
            Some("--html") => html = Some(given.next().ok_or("--html wants the name of a file")?.into()),
            _ => return Err(format!("what is '{}'?", argument.to_string_lossy())),
        }
    }
    Ok((quick, html))
}
