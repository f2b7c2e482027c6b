//! Figures, ready to be shown. A figure has one or several series, each with a value for each model.

use std::time::Duration;

/// The names of the models, in the order of [`Model::ALL`](greenline_process::model::Model::ALL).
pub(crate) const NAMES: [&str; 3] = ["green thread", "OS thread", "process"];

/// The unit of a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    Count,
}

impl Unit {
    /// Returns the number with its unit, in three digits.
    pub(crate) fn show(self, number: f64) -> String {
        self.written(number, |number| if number >= 99.95 { 0 } else { usize::from(number < 9.995) + 1 })
    }

    /// Returns a round number with its unit, in as few digits as possible.
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

    /// Returns the factor between two neighbouring marks on a logarithmic axis.
    pub(crate) fn step(self) -> f64 {
        if self == Unit::Bytes { 16.0 } else { 10.0 }
    }
}

/// Returns the number with the largest unit that fits.
fn scaled(mut number: f64, step: f64, units: &[&str], digits: impl Fn(f64) -> usize) -> String {
    let mut unit = 0;
    while number >= 999.5 && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let digits = if unit == 0 { 0 } else { digits(number) };
    format!("{number:.digits$} {}", units[unit])
}

/// Returns the number with a comma at each thousand.
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

/// One number, or the reason why there is none.
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
    /// The name within its figure; empty if the figure has one series.
    pub(crate) name: &'static str,
    pub(crate) values: [Value; 3],
}

/// One thing that was measured.
pub(crate) struct Figure {
    pub(crate) title: &'static str,
    /// A sentence on the method.
    pub(crate) how: String,
    /// A sentence on the result.
    pub(crate) seen: String,
    pub(crate) series: Vec<Series>,
    pub(crate) unit: Unit,
    /// Whether the axis is logarithmic.
    pub(crate) logarithmic: bool,
    /// A number to compare with: a line in the plot.
    pub(crate) reference: Option<(&'static str, f64)>,
}

/// Returns the ratio of two numbers in words: "12 times as".
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

/// The processes and workers that a crash ends, for each model.
pub(crate) struct Crashes {
    pub(crate) rows: Vec<(&'static str, [String; 3])>,
}

/// The text for a crash that ends no other worker.
pub(crate) const ONLY: &str = "only the crashing worker";

impl Crashes {
    /// Returns a sentence on the result, if it is the expected one.
    pub(crate) fn seen(&self) -> &'static str {
        let is_alone = |ends: &[String; 3]| ends.each_ref().map(|end| end == ONLY);
        let (panic, others) = self.rows.split_at(1);
        let as_expected = panic.iter().all(|(_, ends)| is_alone(ends) == [true; 3])
            && others.iter().all(|(_, ends)| is_alone(ends) == [false, false, true]);
        match as_expected {
            true => {
                "A panic ends only the panicking worker, in all models. A crash that the kernel ends, ends the whole process. So only \
                 processes are safe from each other."
            }
            false => "The result is not the expected one: see the table.",
        }
    }
}

/// When each worker ran, for each model, and how long one of its steps computes.
pub(crate) struct Timelines {
    pub(crate) days: [Result<Vec<super::work::Day>, String>; 3],
    pub(crate) busy: Duration,
}
