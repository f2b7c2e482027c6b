//! The README's picture: two green threads that print ten lines each and sleep after each line, first without
//! `patch::all()` and then with it. The example measures both runs and draws them as an SVG file.
//!
//! Run with: `cargo run --release --example timeline -- [FILE]`
//!
//! Without the patch, a sleep blocks the OS thread, so the second green thread begins when the first has ended. With it,
//! a sleep parks the green thread that sleeps, and the other one runs.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One sleep: the number that was printed before it, and when it began and ended.
type Sleep = (u32, Duration, Duration);

/// The sleeps of two green threads.
type Run = [Vec<Sleep>; 2];

const STEPS: u32 = 10;
const NAP: Duration = Duration::from_millis(20);

/// Sizes in the picture, in pixels.
const LEFT: f64 = 80.0;
const WIDTH: f64 = 800.0;
const ROW: f64 = 30.0;
const BAR: f64 = 20.0;

/// The body of each green thread. It contains nothing of green threads.
fn work(name: &str, start: Instant, log: impl Fn(Sleep)) {
    for step in 1..=STEPS {
        println!("{name}: {step}");
        let begin = start.elapsed();
        std::thread::sleep(NAP);
        log((step, begin, start.elapsed()));
    }
}

/// Runs both green threads and returns what they did.
fn run() -> Run {
    let start = Instant::now();
    let threads = ["work1", "work2"].map(|name| {
        let sleeps = Rc::new(RefCell::new(Vec::new()));
        let log = sleeps.clone();
        (greenline::spawn(move || work(name, start, |sleep| log.borrow_mut().push(sleep))), sleeps)
    });
    threads.map(|(thread, sleeps)| {
        thread.join().expect("work does not panic");
        sleeps.take()
    })
}

/// Returns when the last sleep of the run ended.
fn end_of(run: &Run) -> Duration {
    run.iter().flatten().map(|&(_, _, end)| end).max().unwrap_or_default()
}

/// Draws a run below `top`. A millisecond is `scale` pixels wide.
fn draw(svg: &mut String, run: &Run, title: &str, top: f64, scale: f64) -> std::fmt::Result {
    let x = |time: Duration| LEFT + time.as_secs_f64() * 1000.0 * scale;
    let took = end_of(run).as_millis();
    writeln!(svg, r#"<text x="8" y="{}" class="title">{title}: {took} ms</text>"#, top + 12.0)?;
    for (row, (name, sleeps)) in ["work1", "work2"].iter().zip(run).enumerate() {
        let y = top + 24.0 + row as f64 * ROW;
        let middle = y + BAR / 2.0;
        writeln!(svg, r#"<text x="8" y="{}">{name}</text>"#, middle + 5.0)?;
        for &(step, begin, end) in sleeps {
            let (left, width) = (x(begin), x(end) - x(begin));
            writeln!(
                svg,
                r#"<rect x="{left:.1}" y="{y}" width="{width:.1}" height="{BAR}" class="sleep"/><circle cx="{left:.1}" cy="{middle}" r="8" class="{name}"/><text x="{left:.1}" y="{}" class="step">{step}</text>"#,
                middle + 4.0
            )?;
        }
    }
    Ok(())
}

/// Returns the picture of both runs.
fn picture(unpatched: &Run, patched: &Run) -> Result<String, std::fmt::Error> {
    let longest = end_of(unpatched).max(end_of(patched)).as_secs_f64() * 1000.0;
    let scale = (WIDTH - LEFT - 20.0) / longest;
    let (second, bottom) = (102.0, 204.0);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="Timeline of two green threads with and without patch::all()">
<style>
text {{ font: 13px sans-serif; fill: #333 }} .title {{ font-weight: bold }} .step {{ font-size: 10px; fill: #fff; text-anchor: middle }}
.sleep {{ fill: #dde3ea }} .work1 {{ fill: #2a6f97 }} .work2 {{ fill: #b5541c }} .axis {{ stroke: #999 }}
</style>
<rect width="100%" height="100%" fill="white"/>
"#,
        height = bottom + 34.0
    );
    draw(&mut svg, patched, "with patch::all()", 10.0, scale)?;
    draw(&mut svg, unpatched, "without it", 10.0 + second, scale)?;
    writeln!(svg, r#"<path d="M{LEFT} {bottom}H{}" class="axis"/>"#, WIDTH - 20.0)?;
    for tick in (0..=longest as u32).step_by(50) {
        let x = LEFT + f64::from(tick) * scale;
        writeln!(
            svg,
            r#"<path d="M{x:.1} {bottom}v5" class="axis"/><text x="{x:.1}" y="{}" text-anchor="middle">{tick} ms</text>"#,
            bottom + 20.0
        )?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn main() {
    let path = std::env::args().nth(1).unwrap_or_else(|| "target/timeline.svg".to_string());
    let unpatched = run();
    greenline::patch::all();
    let patched = run();
    let svg = picture(&unpatched, &patched).expect("writing to a string does not fail");
    if let Err(error) = std::fs::write(&path, svg) {
        eprintln!("cannot write {path}: {error}");
        std::process::exit(2);
    }
    println!("without patch::all(): {:.0?}, with it: {:.0?}", end_of(&unpatched), end_of(&patched));
    println!("the timeline is in {path}");
}
