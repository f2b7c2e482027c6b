//! Crawls a site: looks up its name, fetches pages, follows their links, and stores the pages in files. Each page has a
//! scoped thread of std, which calls only std and `ureq`. Patched, all threads wait at the same time on one OS thread.
//!
//! Run with: `cargo run --release --example crawl -- [http://HOST[:PORT]/]`
//!
//! Without an address, the example serves a small site at localhost, whose pages take 30 ms each, and crawls that.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

/// Largest number of pages that are fetched.
const MOST: usize = 100;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// State that all threads share.
struct Crawl<'a> {
    /// `http://host:port`
    site: &'a str,
    folder: &'a Path,
    seen: Mutex<HashSet<String>>,
    pages: Mutex<Vec<Page>>,
}

struct Page {
    path: String,
    /// Number of bytes, and number of links.
    outcome: Result<(usize, usize), Failure>,
}

/// Fetches a page. Starts a thread for each page that it links to.
fn visit<'scope>(crawl: &'scope Crawl<'_>, scope: &'scope Scope<'scope, '_>, path: String) {
    let outcome = fetch(crawl, &path).map(|text| {
        let links = links(&text, crawl.site);
        for link in &links {
            let mut seen = crawl.seen.lock().expect("no thread panics while it holds the lock");
            if seen.len() < MOST && seen.insert(link.clone()) {
                let link = link.clone();
                scope.spawn(move || visit(crawl, scope, link));
            }
        }
        (text.len(), links.len())
    });
    crawl.pages.lock().expect("no thread panics while it holds the lock").push(Page { path, outcome });
}

fn fetch(crawl: &Crawl<'_>, path: &str) -> Result<String, Failure> {
    let request = ureq::get(format!("{}{path}", crawl.site));
    let request = request.config().timeout_global(Some(Duration::from_secs(20))).build();
    let text = request.call()?.body_mut().read_to_string()?;
    let name: String =
        path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(100).collect();
    std::fs::write(crawl.folder.join(name + ".html"), &text)?;
    Ok(text)
}

/// Returns the paths of all pages of this site to which `text` links.
fn links(text: &str, site: &str) -> Vec<String> {
    let links = text.split("href=\"").skip(1).filter_map(|rest| rest.split(['"', '#']).next());
    let here = links.map(|link| link.strip_prefix(site).unwrap_or(link));
    here.filter(|link| link.starts_with('/') && !link.starts_with("//")).map(str::to_owned).collect()
}

/// Serves a site of 60 pages. Each links to two more and to the first. The last one links to a page that does not exist.
fn serve(listener: TcpListener) {
    for stream in listener.incoming().flatten() {
        // An error means that the client has gone.
        thread::spawn(move || _ = answer(stream));
    }
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut head = BufReader::new(&stream).lines().take_while(|line| !matches!(line.as_deref(), Ok("")));
    let first = head.next().transpose()?.unwrap_or_default();
    head.try_for_each(|line| line.map(drop))?;
    thread::sleep(Duration::from_millis(30));
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, page) =
        match path.trim_start_matches('/').parse().or(if path == "/" { Ok(0) } else { Err(()) }) {
            Ok(n @ 0..60) => {
                let links = (2 * n + 1..2 * n + 3).filter(|&n| n <= 60);
                let links: String = links.map(|n| format!(" <a href=\"/{n}\">page {n}</a>")).collect();
                ("200 OK", format!("<h1>Page {n}</h1> <a href=\"/\">home</a>{links}"))
            }
            _ => ("404 Not Found", "<h1>No such page</h1>".to_string()),
        };
    write!(&stream, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{page}")
}

fn run(site: Option<String>) -> Result<(), Failure> {
    let site = match site {
        Some(site) => site,
        None => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let port = listener.local_addr()?.port();
            thread::spawn(move || serve(listener));
            format!("http://localhost:{port}")
        }
    };
    let folder = tempfile::tempdir()?;
    let seen = Mutex::new(HashSet::from(["/".to_string()]));
    let crawl = Crawl { site: &site, folder: folder.path(), seen, pages: Mutex::default() };
    let start = Instant::now();
    thread::scope(|scope| visit(&crawl, scope, "/".into()));
    let took = start.elapsed();

    let mut pages = crawl.pages.into_inner()?;
    pages.sort_by_key(|page| (page.path.len(), page.path.clone()));
    for Page { path, outcome } in &pages {
        match outcome {
            Ok((bytes, links)) => println!("{path:10} {bytes:7} bytes {links:4} links"),
            Err(error) => println!("{path:10} {error}"),
        }
    }
    let got = pages.iter().filter(|page| page.outcome.is_ok()).count();
    let files = std::fs::read_dir(folder.path())?.count();
    println!(
        "{site}: {got} pages of {} in {took:.2?}, stored as {files} files in {}",
        pages.len(),
        folder.path().display()
    );
    println!("the files are removed at the end of this program");
    if got == 0 { Err("no page could be fetched".into()) } else { Ok(()) }
}

fn main() {
    let site = arguments().unwrap_or_else(|wrong| {
        eprintln!("{wrong}\nusage: crawl [http://HOST[:PORT]/]    (default: a site that it serves itself)");
        std::process::exit(2);
    });
    greenline::patch::all();
    if let Err(error) = run(site) {
        eprintln!("crawl: {error}");
        std::process::exit(1);
    }
}

/// Returns the site to crawl, without a path.
fn arguments() -> Result<Option<String>, String> {
    let mut given = std::env::args().skip(1);
    let Some(url) = given.next() else { return Ok(None) };
    let host =
        url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).filter(|host| !host.is_empty());
    let host = host.ok_or(format!("'{url}' must begin with http:// and a host"))?;
    match given.next() {
        None => Ok(Some(format!("http://{host}"))),
        Some(extra) => Err(format!("unexpected argument '{extra}'")),
    }
}
