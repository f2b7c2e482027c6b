//! Runs all measurements, and makes figures of them. The sentence on each figure follows from the numbers of this run.

use super::figure::{Crashes, Figure, ONLY, Series, Timelines, Unit, Value, thousands, times};
use super::kernel;
use super::lab::{self, Effort};
use super::measure::{self, Many, Memory, OTHERS, Took};
use super::work::Crash;
use greenline_process::model::Model;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

/// The results of all measurements.
pub(crate) struct Taken {
    pub(crate) figures: Vec<Figure>,
    pub(crate) crashes: Crashes,
    pub(crate) timelines: Timelines,
}

/// The number of times that `take_all` reports its next measurement.
pub(crate) const STEPS: u64 = 3 * 12;

type Measured<T> = [Result<T, String>; 3];

/// Runs measurements, and reports each one before it begins.
struct Taker<S> {
    effort: Effort,
    say: S,
}

impl<S: FnMut(&str)> Taker<S> {
    fn take<T>(
        &mut self,
        what: &str,
        measure: impl Fn(Model, Effort) -> io::Result<T> + Clone + Send + 'static,
    ) -> Measured<T>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        Model::ALL.map(|model| {
            (self.say)(&format!("{what}: {model}"));
            lab::run(model, self.effort, measure.clone())
        })
    }
}

pub(crate) fn take_all(effort: Effort, say: impl FnMut(&str)) -> Taken {
    let mut taker = Taker { effort, say };
    let start = taker.take("starting", measure::start);
    let hand_over = taker.take("handing over", measure::hand_over);
    let give_way = taker.take("giving way", measure::give_way);
    let memory = taker.take("memory", measure::memory);
    let many = taker.take("how many", measure::many);
    let room = kernel::available_bytes() as f64;
    let ask = taker.take("work that waits", measure::ask);
    let alone = lab::run(Model::OsThread, effort, measure::compute_alone);
    let compute = taker.take("work that computes", measure::compute);
    let global = taker.take("a global", measure::global);
    let crashes = [("a panic", Crash::Panic), ("abort()", Crash::Abort), ("a bad address", Crash::Fault)]
        .map(|(what, how)| {
            (what, taker.take(what, move |model, _| measure::crash(model, how)).map(end_of_a_crash))
        });
    let days = taker.take("when each runs", measure::days);
    let room_for = memory.each_ref().map(|memory| {
        let memory = memory.as_ref().map_err(Clone::clone)?;
        Ok(room / (memory.own + memory.kernels))
    });
    let figures = vec![
        starting(start),
        handing_over(hand_over),
        giving_way(give_way),
        memory_of(memory),
        how_many(many, room_for),
        waiting(&ask, effort),
        computing(&compute, alone, effort),
        switches(&ask, &compute),
        sharing(global),
    ];
    let timelines = Timelines { days, busy: measure::BUSY };
    Taken { figures, crashes: Crashes { rows: crashes.into() }, timelines }
}

fn one_series(unit: Unit, measured: Measured<f64>) -> Vec<Series> {
    vec![Series { name: "", values: measured.map(|number| Value::new(unit, number)) }]
}

fn series<T>(name: &'static str, unit: Unit, measured: &Measured<T>, number: impl Fn(&T) -> f64) -> Series {
    let values = measured
        .each_ref()
        .map(|measured| Value::new(unit, measured.as_ref().map(&number).map_err(Clone::clone)));
    Series { name, values }
}

/// Returns the three numbers, if all were measured.
fn numbers(series: &Series) -> Option<[f64; 3]> {
    let [green, thread, process] = series.values.each_ref().map(|value| value.number);
    Some([green?, thread?, process?])
}

/// Returns the sentence that `say` makes of the numbers of the first series.
fn seen(series: &[Series], say: impl Fn([f64; 3]) -> String) -> String {
    series.first().and_then(numbers).map_or("Not all of it could be measured here.".into(), say)
}

fn starting(measured: Measured<f64>) -> Figure {
    let series = one_series(Unit::Nanoseconds, measured);
    Figure {
        title: "Starting and joining one",
        how: "One after the other, each joined before the next; the median of batches of ten.".into(),
        seen: seen(&series, |[green, thread, process]| {
            format!(
                "An OS thread takes {} long to start as a green thread, and a process {} long as an OS thread.",
                times(thread, green),
                times(process, thread)
            )
        }),
        series,
        unit: Unit::Nanoseconds,
        logarithmic: true,
        reference: None,
    }
}

fn handing_over(measured: Measured<f64>) -> Figure {
    let series = one_series(Unit::Nanoseconds, measured);
    Figure {
        title: "Handing over a byte",
        how: "Two on one core throw a byte to and fro through a socket; for each throw one has to wait and the other to wake up. \
              The system calls of the socket are in it, which all three need to reach the other."
            .into(),
        seen: seen(&series, |[green, thread, process]| {
            format!(
                "From OS thread to OS thread it takes {} long as from green thread to green thread, from process to process {} long.",
                times(thread, green),
                times(process, green)
            )
        }),
        series,
        unit: Unit::Nanoseconds,
        logarithmic: false,
        reference: None,
    }
}

fn giving_way(measured: Measured<f64>) -> Figure {
    let series = one_series(Unit::Nanoseconds, measured);
    Figure {
        title: "A switch",
        how: "Two on one core do nothing but std::thread::yield_now(). The time is divided by the switches that took place, as counted by \
              whoever makes them."
            .into(),
        seen: seen(&series, |[green, thread, process]| {
            format!(
                "The hub switches without the kernel: a switch of OS threads takes {} long, one of processes {} long.",
                times(thread, green),
                times(process, green)
            )
        }),
        series,
        unit: Unit::Nanoseconds,
        logarithmic: true,
        reference: None,
    }
}

fn memory_of(measured: Measured<Memory>) -> Figure {
    let series = vec![
        series("own", Unit::Bytes, &measured, |memory| memory.own),
        series("the kernel's", Unit::Bytes, &measured, |memory| memory.kernels),
    ];
    let both = measured.map(|memory| memory.map_or(f64::NAN, |memory| memory.own + memory.kernels));
    Figure {
        title: "Memory of one that waits",
        how: "Its own: private pages of all processes that there are because of it. The kernel's: its stacks, page tables and records, of which \
              other programs may have taken some meanwhile."
            .into(),
        seen: format!(
            "Both together: for an OS thread {} much as for a green thread, for a process {} much.",
            times(both[1], both[0]),
            times(both[2], both[0])
        ),
        series,
        unit: Unit::Bytes,
        logarithmic: true,
        reference: None,
    }
}

fn how_many(measured: Measured<Many>, room_for: Measured<f64>) -> Figure {
    let reasons =
        measured.each_ref().map(|many| many.as_ref().map_or_else(Clone::clone, |many| many.end.clone()));
    let values = measured.map(|many| match many {
        Ok(Many { alive, refused, .. }) => {
            let at_least = if refused { "" } else { "≥ " };
            Value { number: Some(alive as f64), text: format!("{at_least}{}", thousands(alive as f64)) }
        }
        Err(reason) => Value { number: None, text: format!("failed: {reason}") },
    });
    let ends = Model::ALL.iter().zip(reasons).map(|(model, reason)| format!("{model}: {reason}"));
    Figure {
        title: "How many were alive at once",
        how: format!(
            "So many were started and waited, all at once. Why there it ended: {}.",
            ends.collect::<Vec<_>>().join("; ")
        ),
        seen: "Where it says ≥, more can be had. Beside it: for how many the free memory would do, if nothing else were to end it."
            .into(),
        series: vec![
            Series { name: "tried", values },
            Series { name: "the free memory would do for", values: room_for.map(about) },
        ],
        unit: Unit::Count,
        logarithmic: true,
        reference: None,
    }
}

/// Returns the number rounded to two digits.
fn about(number: Result<f64, String>) -> Value {
    let rounded = number.map(|number| {
        let power = 10f64.powf(number.log10().floor() - 1.0);
        (number / power).round() * power
    });
    let value = Value::new(Unit::Count, rounded);
    Value { text: format!("≈ {}", value.text), ..value }
}

fn waiting(measured: &Measured<Took>, effort: Effort) -> Figure {
    let (workers, each) = measure::asking(effort);
    let series = vec![
        series("until all were done", Unit::Nanoseconds, measured, |took| took.wall),
        series("processor time of all", Unit::Nanoseconds, measured, |took| took.cpu),
    ];
    Figure {
        title: "Work that waits",
        how: format!(
            "{workers} workers ask a server {each} times each, and are answered after a millisecond. One alone would take {} for all.",
            Unit::Nanoseconds.show(workers as f64 * f64::from(each) * 1e6)
        ),
        seen: seen(&series, |[green, thread, process]| {
            format!(
                "They wait together, whichever they are: green threads were done after {}, OS threads after {}, processes after {}.",
                Unit::Nanoseconds.show(green),
                Unit::Nanoseconds.show(thread),
                Unit::Nanoseconds.show(process)
            )
        }),
        series,
        unit: Unit::Nanoseconds,
        logarithmic: false,
        reference: Some(("the waits of one", f64::from(each) * 1e6)),
    }
}

fn computing(measured: &Measured<Took>, alone: Result<f64, String>, effort: Effort) -> Figure {
    let (workers, microseconds) = measure::computing(effort);
    let alone = alone.unwrap_or(f64::NAN);
    let series = vec![series("", Unit::Nanoseconds, measured, |took| took.wall)];
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Figure {
        title: "Work that computes",
        how: format!(
            "{workers} workers compute, {} each, on {cores} cores that others use, too.",
            Unit::Nanoseconds.show(microseconds as f64 * 1e3)
        ),
        seen: format!(
            "Green threads keep one core busy, and no more: they had {} cores on average, OS threads {}, processes {}.",
            cores_had(&measured[0]),
            cores_had(&measured[1]),
            cores_had(&measured[2])
        ),
        series,
        unit: Unit::Nanoseconds,
        logarithmic: false,
        reference: alone.is_finite().then_some(("one after the other", alone)),
    }
}

/// Returns the average number of cores in use.
fn cores_had(measured: &Result<Took, String>) -> String {
    measured.as_ref().map_or("?".into(), |took| format!("{:.2}", took.cpu / took.wall))
}

fn switches(ask: &Measured<Took>, compute: &Measured<Took>) -> Figure {
    let series = vec![
        series("waiting: voluntary", Unit::Count, ask, |took| took.voluntary as f64),
        series("waiting: involuntary", Unit::Count, ask, |took| took.involuntary as f64),
        series("computing: voluntary", Unit::Count, compute, |took| took.voluntary as f64),
        series("computing: involuntary", Unit::Count, compute, |took| took.involuntary as f64),
    ];
    let hubs = ask[0].as_ref().map_or(0, |took| took.hubs);
    Figure {
        title: "The kernel's switches",
        how: "Of the two kinds of work above. Voluntary: it waited. Involuntary: the kernel let others run."
            .into(),
        seen: format!(
            "Green threads that wait are switched by their hub, here {} times, and the kernel hears little of it; who computes is interrupted.",
            thousands(hubs as f64)
        ),
        series,
        unit: Unit::Count,
        logarithmic: true,
        reference: None,
    }
}

fn sharing(measured: Measured<u64>) -> Figure {
    let series = one_series(Unit::Count, measured.map(|count| count.map(|count| count as f64)));
    Figure {
        title: "A global, after three have added one",
        how: "As the parent sees it, when all three were joined.".into(),
        seen: seen(&series, |counts| {
            let shared = |count: f64| if count == 3.0 { "share it" } else { "have copies of it" };
            format!(
                "Green threads {}, OS threads {}, processes {}.",
                shared(counts[0]),
                shared(counts[1]),
                shared(counts[2])
            )
        }),
        series,
        unit: Unit::Count,
        logarithmic: false,
        reference: None,
    }
}

/// Returns which workers the crash has ended. An error means that it has ended the process of the measurement.
fn end_of_a_crash(answered: Result<u64, String>) -> String {
    match answered {
        Ok(others) if others == OTHERS as u64 => ONLY.into(),
        Ok(others) => format!("{} of the {OTHERS} others, too", OTHERS as u64 - others),
        Err(how) if how.contains("signal 6 ") => "the whole process (SIGABRT)".into(),
        Err(how) if how.contains("signal 11 ") => "the whole process (SIGSEGV)".into(),
        Err(how) => how,
    }
}
