//! Many HTTP requests at once by an unmodified client (`ureq`), with an unmodified progress bar (`indicatif`). A small
//! server in plain std, in the same process, answers each request after 50 ms. Patched, all requests wait at the same time,
//! on one OS thread.
//!
//! Run with: `cargo run --release --example http_fanout -- [N_REQUESTS] [MILLISECONDS]`
//!
//! The example prints how long the run took, and the sum of the times of all requests.

use indicatif::ProgressBar;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Starts a thread for each connection, which answers after `delay`.
fn serve(listener: TcpListener, delay: Duration) {
    for stream in listener.incoming() {
        thread::spawn(move || {
            if let Err(error) = stream.and_then(|stream| answer(stream, delay)) {
                eprintln!("a request failed: {error}");
            }
        });
    }
}

/// Speaks the part of HTTP that this example needs: the head ends with an empty line, the answer ends with the connection.
fn answer(stream: TcpStream, delay: Duration) -> std::io::Result<()> {
    let mut head = BufReader::new(&stream).lines().take_while(|line| !matches!(line.as_deref(), Ok("")));
    let first = head.next().transpose()?.unwrap_or_default();
    head.try_for_each(|line| line.map(drop))?;
    let path = first.split(' ').nth(1).unwrap_or_default();
    thread::sleep(delay);
    write!(&stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nyou asked for {path}")
}

/// Makes one request, from the first byte to the last. Returns how long it took.
fn fetch(url: &str) -> Result<Duration, ureq::Error> {
    let start = Instant::now();
    let text = ureq::get(url).call()?.body_mut().read_to_string()?;
    assert!(url.ends_with(text.trim_start_matches("you asked for ")), "{url}: '{text}'");
    Ok(start.elapsed())
}

fn run(count: usize, delay: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // With std's backlog of 128, the kernel drops further connections, and the client retries after a second.
    socket2::SockRef::from(&listener).listen(4096)?;
    let address = listener.local_addr()?;
    thread::spawn(move || serve(listener, delay));

    let bar = ProgressBar::new(count as u64);
    let start = Instant::now();
    let all: Vec<_> = (0..count)
        .map(|n| {
            let bar = bar.clone();
            thread::spawn(move || {
                let took = fetch(&format!("http://{address}/{n}"));
                bar.inc(1);
                took
            })
        })
        .collect();
    let (mut waited, mut failed) = (Duration::ZERO, 0);
    for one in all {
        match one.join().map_err(|_| "a request panicked")? {
            Ok(took) => waited += took,
            Err(error) => {
                failed += 1;
                bar.println(format!("{error}"));
            }
        }
    }
    let took = start.elapsed();
    bar.finish_and_clear();
    println!("{} requests, {failed} of them failed, on {} OS threads", count, os_threads());
    println!(
        "took {took:.2?}; the requests took {waited:.2?} in total, {:.0} times as long",
        waited.as_secs_f64() / took.as_secs_f64()
    );
    Ok(())
}

/// Returns the number of OS threads, without the watchdog of debug builds.
fn os_threads() -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let names = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.filter(|name| !name.as_ref().is_ok_and(|name| name.starts_with("greenline-watch"))).count()
}

fn main() {
    let (count, delay) = arguments().unwrap_or_else(|wrong| {
        eprintln!("{wrong}\nusage: http_fanout [N_REQUESTS] [MILLISECONDS]    (1000, and 50, if not given)");
        std::process::exit(2);
    });
    greenline::patch::all();
    if let Err(error) = run(count, delay) {
        eprintln!("http_fanout: {error}");
        std::process::exit(1);
    }
}

fn arguments() -> Result<(usize, Duration), String> {
    let mut given = std::env::args().skip(1);
    let mut number = |what: &str, default: u64| match given.next() {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("{what} must be a whole number, not '{text}'")),
    };
    let (count, delay) = (number("N_REQUESTS", 1000)?, number("MILLISECONDS", 50)?);
    match given.next() {
        None => Ok((count as usize, Duration::from_millis(delay))),
        Some(extra) => Err(format!("unexpected argument '{extra}'")),
    }
}
