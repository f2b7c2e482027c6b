//! The examination of all hubs, and the text of the reports.
//!
//! Next: `observe/watchdog/stall.rs`, when a hub counts as stalled.

use super::backtrace;
use super::stall::{StallDetector, Verdict};
use super::thread_state::{ThreadState, call_name};
use crate::green::catch_body;
use crate::hub::status::{self, HubStatus};
use crate::ids::GreenId;
use crate::observe::panic_hook::log_or_stderr;
use std::collections::HashMap;
use std::time::Duration;

/// A report that has still to be written, because the examination must not wait.
pub(super) struct Report {
    text: String,
    /// For a stalled hub: the OS thread, and the number of switches of its hub, to find where it is now.
    thread: Option<(i32, u64)>,
}

/// Examines each hub once. `passed` is the time since the last examination. `detectors` has the hubs by their numbers.
pub(super) fn examine(
    detectors: &mut HashMap<u64, StallDetector>,
    passed: Duration,
    limit: Duration,
) -> Vec<Report> {
    let mut reports = Vec::new();
    let mut known = std::mem::take(detectors);
    status::for_each_hub(|hub| {
        let mut detector = known.remove(&hub.number).unwrap_or_default();
        let id = hub.current();
        let keeps_others = match id {
            GreenId::HUB => false,
            GreenId::ROOT => hub.alive() > 0,
            _ => true,
        };
        match detector.update(hub.switches(), keeps_others, passed, limit) {
            Verdict::Fine => {}
            Verdict::Stalled(time) => {
                detector.name = title(hub, id);
                let text = format!("{} has not given way for {time:.0?}{}", detector.name, origin(hub, id));
                reports.push(Report { text, thread: Some((hub.tid(), hub.switches())) });
            }
            Verdict::Recovered(time) => {
                let text = format!("{} has given way, after {time:.0?}", detector.name);
                reports.push(Report { text, thread: None });
            }
        }
        detectors.insert(hub.number, detector);
    });
    reports
}

/// Returns the name of a green thread as the subject of a report.
fn title(hub: &HubStatus, id: GreenId) -> String {
    match hub.label(id).and_then(|label| label.name) {
        _ if id == GreenId::ROOT => "the root".into(),
        Some(name) => format!("green thread '{name}'"),
        None => format!("green thread 'green-{id}'"),
    }
}

/// Returns where a green thread was spawned, its OS thread, and how many green threads it keeps from running.
fn origin(hub: &HubStatus, id: GreenId) -> String {
    let mut text = String::new();
    if let Some(label) = hub.label(id).filter(|_| id != GreenId::ROOT) {
        text += &format!("; spawned at {}", label.spawned_at);
    }
    text += &format!("; on OS thread '{}' ({})", hub.os_thread, hub.tid());
    match hub.alive().saturating_sub(u64::from(id != GreenId::ROOT)) {
        0 => {}
        1 => text += ", where another is alive",
        others => text += &format!(", where {others} others are alive"),
    }
    text
}

impl Report {
    /// Finds out where a stalled OS thread is, and logs the report. If the program's logger panics, the report is lost.
    pub(super) fn write(self) {
        let mut text = self.text;
        if let Some((tid, switches)) = self.thread {
            text += &whereabouts(tid, switches);
        }
        let _ = catch_body(|| log_or_stderr(log::Level::Warn, &text));
    }
}

/// Returns where an OS thread is: lines to append to a report.
fn whereabouts(tid: i32, switches: u64) -> String {
    match ThreadState::of(tid) {
        ThreadState::InCall(number) => match call_name(number) {
            Some(name) => format!("\n  in the system call {name}"),
            None => format!("\n  in the system call number {number}"),
        },
        ThreadState::Asleep => "\n  in the kernel".into(),
        ThreadState::Unknown => String::new(),
        ThreadState::Computing => match backtrace::of(tid, switches) {
            Some(frames) if frames.is_empty() => "\n  it has gone on just now".into(),
            Some(frames) => format!("\n  it computes:\n    {}", frames.join("\n    ")),
            None => {
                format!("\n  it computes (no backtrace: it does not take signal {})", backtrace::SIGNAL)
            }
        },
    }
}
