//! What was measured, ready to be shown: a figure has one or several series, each with a value for each model.

use std::time::Duration;

/// In the order of [`Model::ALL`](greenline::model::Model::ALL).
pub(crate) const NAMES: [&str; 3] = ["green thread", "OS thread", "process"];

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    Count,
}

impl Unit {
    /// With three digits.
    pub(crate) fn show(self, number: f64) -> String {
        self.written(number, |number| if number >= 99.95 { 0 } else { usize::from(number < 9.995) + 1 })
    }

    /// With no more digits than it takes: for round numbers.
    pub(crate) fn show_round(self, number: f64) -> String {
        self.written(number, |number| usize::from(number.fract() != 0.0))
    }

    fn written(self, number: f64, digits: impl Fn(f64) -> usize) -> String {
        match self {
            Unit::Count => thousands(number),
            Unit::Nanoseconds => scaled(number, 1000.0, &["ns", "µs", "ms", "s"], digits),
            Unit::Bytes => scaled(number, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"], digits),
        }
    }

    /// By how much numbers differ that are neighbours on a logarithmic axis.
    pub(crate) fn step(self) -> f64 {
        if self == Unit::Bytes { 16.0 } else { 10.0 }
    }
}

/// With the unit that suits.
fn scaled(mut number: f64, step: f64, units: &[&str], digits: impl Fn(f64) -> usize) -> String {
    let mut unit = 0;
    while number >= 999.5 && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let digits = if unit == 0 { 0 } else { digits(number) };
    format!("{number:.digits$} {}", units[unit])
}

/// With a comma at each thousand.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One number, or why there is none.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) number: Option<f64>,
    pub(crate) text: String,
}

impl Value {
    pub(crate) fn new(unit: Unit, measured: Result<f64, String>) -> Value {
        match measured {
            Ok(number) => Value { number: Some(number), text: unit.show(number) },
            Err(reason) => Value { number: None, text: format!("failed: {reason}") },
        }
    }
}

/// Three values, one for each model.
pub(crate) struct Series {
    /// What it is within its figure; empty where there is only one.
    pub(crate) name: &'static str,
    pub(crate) values: [Value; 3],
}

/// One thing that was measured.
pub(crate) struct Figure {
    pub(crate) title: &'static str,
    /// How it was measured.
    pub(crate) how: String,
    /// What is to be seen.
    pub(crate) seen: String,
    pub(crate) series: Vec<Series>,
    pub(crate) unit: Unit,
    /// Whether equal steps of its axis are equal factors.
    pub(crate) logarithmic: bool,
    /// Something to compare with: a line in the plot.
    pub(crate) reference: Option<(&'static str, f64)>,
}

/// How many times one is the other, in words: "12 times as".
pub(crate) fn times(one: f64, other: f64) -> String {
    let ratio = one / other;
    match ratio {
        _ if !ratio.is_finite() || other <= 0.0 => "not comparably".into(),
        ..0.01 => format!("{} times less than", thousands(1.0 / ratio)),
        0.8..1.25 => "about as".into(),
        ..9.95 => format!("{ratio:.1} times as"),
        _ => format!("{} times as", thousands(ratio)),
    }
}

/// What a crash takes down, for each model.
pub(crate) struct Crashes {
    pub(crate) rows: Vec<(&'static str, [String; 3])>,
}

/// How a crash is told of that nobody else has noticed.
pub(crate) const ONLY: &str = "only who crashes";

impl Crashes {
    /// What is to be seen, if it is.
    pub(crate) fn seen(&self) -> &'static str {
        let is_alone = |ends: &[String; 3]| ends.each_ref().map(|end| end == ONLY);
        let (panic, others) = self.rows.split_at(1);
        let as_expected = panic.iter().all(|(_, ends)| is_alone(ends) == [true; 3])
            && others.iter().all(|(_, ends)| is_alone(ends) == [false, false, true]);
        match as_expected {
            true => {
                "A panic ends only who panics, whichever it is. What the kernel has to end it ends with the whole process; so only \
                 processes are safe from each other."
            }
            false => "Not as it should be: see the table.",
        }
    }
}

/// When the three days took place, for each model; and how long a step of theirs computes.
pub(crate) struct Timelines {
    pub(crate) days: [Result<Vec<super::work::Day>, String>; 3],
    pub(crate) busy: Duration,
}
