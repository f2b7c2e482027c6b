//! The figures as one self-contained HTML page: no network, no script.

use super::figure::{Crashes, Figure, NAMES, Timelines};
use super::plot::{bars, escape, timeline};
use std::fmt::Write;

/// The colours can also be told apart by colour-blind readers, on a light and on a dark page.
const STYLE: &str = include_str!("page.css");

/// Returns the whole page.
pub(crate) fn page(machine: &str, figures: &[Figure], crashes: &Crashes, timelines: &Timelines) -> String {
    let mut plots = String::new();
    for (id, figure) in figures.iter().enumerate() {
        let _ = writeln!(
            plots,
            "<figure><h2>{}</h2><p class=\"seen\">{}</p>{}<figcaption>{}</figcaption></figure>",
            escape(figure.title),
            escape(&figure.seen),
            bars(figure, id),
            escape(&figure.how)
        );
    }
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>Green threads, OS threads, processes</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Green threads, OS threads, processes</h1>
<p>The same functions, run by workers of three kinds through one interface. Every figure was measured in this run, each in a process
of its own, on {machine}. Other programs may have run meanwhile: the ratios say more than the times.</p>
</header>
<main>
{table}
<section><h2>When each worker ran</h2>
<p class="seen">{seen}</p>
<div class="three">{timelines}</div>
{legend}
<p class="how">A lane is an OS thread; a gap within a block means that the kernel let others run. The
quickest of several days is shown.</p>
</section>
<section><h2>Crashes</h2>
<p class="seen">{crash_seen}</p>
{crashes}
<p class="how">Done, not supposed: three workers, of which one crashes, in a process that was made for it.</p>
</section>
<div class="plots">
{plots}</div>
</main>
<footer><p>Kernel's limits: {limits}.</p></footer>
</body>
</html>
"#,
        machine = escape(machine),
        table = table(figures),
        seen = escape(&timelines_seen(timelines)),
        timelines = (0..3).map(|model| panel(timelines, model, 100 + model)).collect::<String>(),
        legend = legend(),
        crash_seen = crashes.seen(),
        crashes = crash_table(crashes),
        limits = escape(&super::kernel::limits()),
    )
}

fn head() -> String {
    let names: String = NAMES.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    format!("<thead><tr><td></td>{names}</tr></thead>")
}

/// Returns all numbers as a table.
fn table(figures: &[Figure]) -> String {
    let mut rows = String::new();
    for figure in figures {
        let (title, several) = (escape(figure.title), figure.series.len() > 1);
        if several {
            rows += &format!("<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"4\">{title}</th></tr>\n");
        }
        for series in &figure.series {
            let name = if several { format!("<span>{}</span>", escape(series.name)) } else { title.clone() };
            rows += &row(&name, series.values.each_ref().map(|value| value.text.as_str()));
        }
    }
    format!("<div class=\"wide\"><table class=\"numbers\">{}<tbody>{rows}</tbody></table></div>", head())
}

fn row(name: &str, values: [&str; 3]) -> String {
    let cells: String = values.iter().map(|text| format!("<td>{}</td>", escape(text))).collect();
    format!("<tr><th scope=\"row\">{name}</th>{cells}</tr>\n")
}

fn crash_table(crashes: &Crashes) -> String {
    let rows =
        crashes.rows.iter().map(|(what, ends)| row(&escape(what), ends.each_ref().map(String::as_str)));
    format!(
        "<div class=\"wide\"><table class=\"crashes\">{}<tbody>{}</tbody></table></div>",
        head(),
        rows.collect::<String>()
    )
}

fn panel(timelines: &Timelines, model: usize, id: usize) -> String {
    let inside = match &timelines.days[model] {
        Ok(_) => timeline(timelines, model, id),
        Err(reason) => format!("<p>failed: {}</p>", escape(reason)),
    };
    format!("<div><h3>4 × {}</h3>{inside}</div>\n", NAMES[model])
}

fn legend() -> String {
    let workers =
        (1..=4).map(|worker| format!("<span><i class=\"worker{worker}\"></i> worker {worker}</span>"));
    format!("<p class=\"legend\">{}</p>", workers.collect::<Vec<_>>().join(" "))
}

fn timelines_seen(timelines: &Timelines) -> String {
    let busy = timelines.busy.as_millis();
    let ends: Vec<String> = timelines
        .days
        .iter()
        .zip(NAMES)
        .filter_map(|(days, name)| {
            let end = super::work::end_of(days.as_ref().ok()?);
            Some(format!("{name} {} ms", (end + 500) / 1000))
        })
        .collect();
    format!(
        "Four workers compute for {busy} ms and wait as long, three times over. Green threads share one lane: while one waits, another runs, and \
         never two at once. Done after: {}.",
        ends.join(", ")
    )
}
