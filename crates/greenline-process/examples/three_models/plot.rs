//! Plots, as SVG. Colours and font come from the page, so a plot fits a dark page as well as a light one.

use super::figure::{Figure, NAMES, Timelines, Unit, Value};
use super::work::Day;
use std::fmt::Write;

/// The width of plots with bars, in units of the SVG, which the page scales. Text is 12 units high.
const WIDTH: f64 = 360.0;
/// Where the bars begin and end: left of them are the names, right of them the values.
const LEFT: f64 = 92.0;
const RIGHT: f64 = 282.0;
const BAR: f64 = 18.0;

/// Class names of the three models' colours.
const CLASSES: [&str; 3] = ["green", "thread", "process"];

/// Replaces the special characters of HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Returns a plot with bars, one below the other: three for each series, one for each model.
pub(crate) fn bars(figure: &Figure, id: usize) -> String {
    let axis = Axis::of(figure);
    let mut inside = String::new();
    let mut y = if figure.reference.is_some() { 18.0 } else { 4.0 };
    let top = y;
    let mut first_ends = None;
    for series in &figure.series {
        if !series.name.is_empty() {
            let _ = write!(
                inside,
                r#"<text x="0" y="{:.1}" class="group">{}</text>"#,
                y + 11.0,
                escape(series.name)
            );
            y += 18.0;
        }
        for (model, value) in series.values.iter().enumerate() {
            inside += &bar(&axis, model, value, y);
            y += BAR + 6.0;
        }
        first_ends.get_or_insert(y);
        y += 6.0;
    }
    let bottom = y - 6.0;
    let mut behind = axis.grid(top, bottom);
    if let Some((what, number)) = figure.reference {
        let x = axis.at(number);
        let anchor = if x > WIDTH / 2.0 { "end" } else { "start" };
        let _ = write!(
            behind,
            r#"<line x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{:.1}" class="reference"/><text x="{x:.1}" y="11" text-anchor="{anchor}">{}</text>"#,
            top - 3.0,
            first_ends.unwrap_or(bottom),
            escape(&format!("{what}: {}", figure.unit.show(number)))
        );
    }
    let values: Vec<String> = figure.series.iter().map(described).collect();
    let about = format!("{}. {}", values.join(". "), axis.about());
    svg(figure.title, &about, id, (WIDTH, bottom + 16.0), &(behind + &inside))
}

fn described(series: &super::figure::Series) -> String {
    let values = series.values.iter().zip(NAMES).map(|(value, name)| format!("{name} {}", value.text));
    let values = values.collect::<Vec<_>>().join(", ");
    if series.name.is_empty() { values } else { format!("{}: {values}", series.name) }
}

fn bar(axis: &Axis, model: usize, value: &Value, y: f64) -> String {
    let (name, class) = (NAMES[model], CLASSES[model]);
    let end = value.number.map_or(LEFT, |number| axis.at(number));
    let text = if value.number.is_some() { escape(&value.text) } else { "none".into() };
    format!(
        r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{name}</text><rect x="{LEFT:.1}" y="{y:.1}" width="{:.1}" height="{BAR:.1}" rx="2" class="{class}"/><text x="{:.1}" y="{:.1}" class="value">{text}</text>"#,
        LEFT - 6.0,
        y + 13.0,
        (end - LEFT).max(1.5),
        end.max(LEFT + 1.5) + 5.0,
        y + 13.0,
    )
}

/// Maps numbers to positions.
struct Axis {
    unit: Unit,
    logarithmic: bool,
    from: f64,
    to: f64,
}

impl Axis {
    fn of(figure: &Figure) -> Axis {
        let numbers = figure.series.iter().flat_map(|series| &series.values).filter_map(|value| value.number);
        let numbers = numbers.chain(figure.reference.map(|(_, number)| number));
        let numbers: Vec<f64> = numbers.filter(|number| number.is_finite() && *number > 0.0).collect();
        let most = numbers.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let least = numbers.iter().copied().fold(most, f64::min);
        let step = figure.unit.step();
        let (from, to) = match figure.logarithmic {
            // Whole powers, so that the shortest bar has a visible length.
            true => (step.powf((least / 1.5).log(step).floor()), step.powf(most.log(step).ceil())),
            false => (0.0, most),
        };
        Axis { unit: figure.unit, logarithmic: figure.logarithmic, from, to: to.max(from * step) }
    }

    fn at(&self, number: f64) -> f64 {
        let part = match self.logarithmic {
            true if number <= 0.0 => 0.0,
            true => (number / self.from).log10() / (self.to / self.from).log10(),
            false => number / self.to,
        };
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// Returns the lines of the grid, with their numbers below.
    fn grid(&self, top: f64, bottom: f64) -> String {
        let mut lines = String::new();
        let mut free_from = f64::NEG_INFINITY;
        for number in self.ticks() {
            let x = self.at(number);
            let _ = write!(
                lines,
                r#"<line x1="{x:.1}" x2="{x:.1}" y1="{top:.1}" y2="{bottom:.1}" class="grid"/>"#
            );
            let text = match number {
                0.0 => "0".into(),
                // A count has no fractions.
                ..1.0 if self.unit == Unit::Count => String::new(),
                _ => self.unit.show_round(number),
            };
            // Numbers need a distance between them. A digit is about 7.5 units wide.
            let half = text.chars().count() as f64 * 7.5 / 2.0;
            if x - half > free_from {
                free_from = x + half + 6.0;
                let _ = write!(
                    lines,
                    r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle" class="tick">{text}</text>"#,
                    bottom + 13.0
                );
            }
        }
        lines
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let step = self.unit.step();
            let steps = (self.to / self.from).log(step).round() as i32;
            return (0..=steps).map(|power| self.from * step.powi(power)).collect();
        }
        // 1, 2 or 5 times a power of ten, and not more than four of them.
        let rough = self.to / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].iter().map(|step| step * power).find(|&step| step >= rough);
        let step = step.unwrap_or(rough).max(if self.unit == Unit::Count { 1.0 } else { 0.0 });
        (0..).map(|n| f64::from(n) * step).take_while(|&number| number <= self.to * 1.001).collect()
    }

    fn about(&self) -> &'static str {
        if self.logarithmic { "The axis is logarithmic." } else { "The axis begins at zero." }
    }
}

/// Returns an SVG with a title and a description, for readers who do not see the plot.
fn svg(title: &str, about: &str, id: usize, (width, height): (f64, f64), inside: &str) -> String {
    format!(
        r#"<svg viewBox="0 0 {width} {height:.0}" role="img" aria-labelledby="t{id} d{id}"><title id="t{id}">{}</title><desc id="d{id}">{}</desc>{inside}</svg>"#,
        escape(title),
        escape(about)
    )
}

/// Returns the timeline of one model. Each OS thread has a lane, and each worker a colour.
pub(crate) fn timeline(all: &Timelines, model: usize, id: usize) -> String {
    const LANE: f64 = 26.0;
    const WIDTH: f64 = 300.0;
    const FROM: f64 = 70.0;
    const TO: f64 = WIDTH - 8.0;
    let Ok(days) = &all.days[model] else { return String::new() };
    let lanes = lanes(days);
    let until = all.days.iter().flatten().map(|days| super::work::end_of(days)).max();
    let until = f64::from(until.unwrap_or(1).max(1));
    let at = |microseconds: u32| FROM + f64::from(microseconds) / until * (TO - FROM);
    // Four lanes, so that the three timelines have the same height.
    let bottom = 4.0 * LANE;
    let mut inside = String::new();
    let mut tick = 0;
    while f64::from(tick) <= until {
        let x = at(tick);
        let anchor = if tick == 0 { "start" } else { "middle" };
        let _ = write!(
            inside,
            r#"<line x1="{x:.1}" x2="{x:.1}" y1="0" y2="{bottom}" class="grid"/><text x="{x:.1}" y="{:.1}" text-anchor="{anchor}" class="tick">{}</text>"#,
            bottom + 13.0,
            if tick == 0 { "0".into() } else { format!("{} ms", tick / 1000) }
        );
        tick += step_of(until);
    }
    for (lane, (thread, workers)) in lanes.iter().enumerate() {
        let y = lane as f64 * LANE + if lanes.len() == 1 { 1.5 * LANE } else { 0.0 };
        let what = ["OS thread", "OS thread", "process"][model];
        let _ = write!(
            inside,
            r#"<text x="0" y="{:.1}" class="tick">{what}</text><text x="0" y="{:.1}" class="tick">{thread}</text>"#,
            y + 11.0,
            y + 23.0
        );
        let _ = write!(
            inside,
            r#"<line x1="{FROM}" x2="{TO}" y1="{:.1}" y2="{:.1}" class="lane"/>"#,
            y + LANE / 2.0,
            y + LANE / 2.0
        );
        for &(worker, day) in workers {
            for &(from, to) in &day.stints {
                let width = (at(to) - at(from)).max(0.6);
                let _ = write!(
                    inside,
                    r#"<rect x="{:.1}" y="{:.1}" width="{width:.1}" height="{:.1}" class="worker{worker}"/>"#,
                    at(from),
                    y + 4.0,
                    LANE - 8.0
                );
            }
        }
    }
    let about =
        format!("{} workers on {} lanes, over {:.0} milliseconds", days.len(), lanes.len(), until / 1000.0);
    let title = format!("When each worker ran: {}", NAMES[model]);
    svg(&title, &about, id, (WIDTH, bottom + 17.0), &inside)
}

/// Returns the distance between marks, for about four marks.
fn step_of(until: f64) -> u32 {
    let fits = [5000, 10_000, 20_000, 50_000, 100_000, 200_000]
        .into_iter()
        .find(|&step| until / f64::from(step) <= 4.5);
    fits.unwrap_or(1_000_000)
}

/// Returns the workers of each OS thread, with their numbers.
fn lanes(days: &[Day]) -> Vec<(u32, Vec<(usize, &Day)>)> {
    let mut lanes: Vec<(u32, Vec<(usize, &Day)>)> = Vec::new();
    for (worker, day) in days.iter().enumerate() {
        match lanes.iter_mut().find(|(thread, _)| *thread == day.thread) {
            Some((_, workers)) => workers.push((worker + 1, day)),
            None => lanes.push((day.thread, vec![(worker + 1, day)])),
        }
    }
    lanes
}
