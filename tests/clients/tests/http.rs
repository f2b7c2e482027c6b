//! ureq and tiny_http, unmodified, in the same process: clients and servers are green threads of one OS thread. If one of
//! them blocked it, no server could respond.

use greenline_clients::{CROWD, crowd, overlapping};
use std::io::Read;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tiny_http::{Method, Response, Server};
use ureq::{Agent, Error};

greenline_clients::main![
    get_of_slow_responses_overlaps,
    get_by_one_agent_for_all_overlaps,
    post_of_large_bodies_returns_them_whole,
    timeout_global_ends_the_wait,
    call_returns_errors_of_status_and_connection,
];

/// A server with a number of threads that take requests. It ends when it is dropped.
struct Site {
    server: Arc<Server>,
    workers: Vec<thread::JoinHandle<()>>,
}

impl Site {
    fn new() -> Site {
        let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let worker = |_| {
            let server = server.clone();
            thread::spawn(move || server.incoming_requests().for_each(respond))
        };
        let workers = (0..CROWD).map(worker).collect();
        Site { server, workers }
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}/{path}", self.server.server_addr().to_ip().unwrap().port())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.workers.iter().for_each(|_| self.server.unblock());
        self.workers.drain(..).for_each(|worker| worker.join().unwrap());
    }
}

/// Responds to a request. For `/nap/50` it sleeps so many milliseconds and sends the client's address. A POST gets its
/// body back, reversed.
fn respond(mut request: tiny_http::Request) {
    if let Some(millis) = request.url().strip_prefix("/nap/") {
        thread::sleep(Duration::from_millis(millis.parse().unwrap()));
        let peer = request.remote_addr().unwrap().to_string();
        // The client may have gone.
        let _ = request.respond(Response::from_string(peer));
        return;
    }
    if *request.method() != Method::Post {
        return request.respond(Response::empty(404)).unwrap();
    }
    let mut bytes = Vec::new();
    request.as_reader().read_to_end(&mut bytes).unwrap();
    bytes.reverse();
    request.respond(Response::from_data(bytes)).unwrap();
}

fn agent() -> Agent {
    Agent::new_with_defaults()
}

fn get(agent: &Agent, url: &str) -> String {
    agent.get(url).call().unwrap().body_mut().read_to_string().unwrap()
}

fn get_of_slow_responses_overlaps() {
    let site = Site::new();
    // For a host name, a worker of the offload pool looks it up.
    let urls = ["127.0.0.1", "localhost"].map(|host| site.url(host, "nap/100"));
    overlapping(Duration::from_millis(4 * 100), || {
        crowd(move |n| {
            let agent = agent();
            let peers: Vec<String> = (0..4).map(|_| get(&agent, &urls[n % 2])).collect();
            // The agent keeps its connection.
            assert!(peers.iter().all(|peer| *peer == peers[0]), "{peers:?}");
        })
    });
}

fn get_by_one_agent_for_all_overlaps() {
    let site = Site::new();
    let url = site.url("127.0.0.1", "nap/50");
    let agent = agent();
    overlapping(Duration::from_millis(4 * 50), || {
        crowd(move |_| (0..4).for_each(|_| assert!(get(&agent, &url).starts_with("127.0.0.1:"))))
    });
}

fn post_of_large_bodies_returns_them_whole() {
    let site = Site::new();
    let url = site.url("127.0.0.1", "");
    crowd(move |n| {
        let agent = agent();
        for round in 0..2 {
            let bytes: Vec<u8> = (0..100_000 + n).map(|at| (at * 31 + n + round) as u8).collect();
            let mut back = Vec::new();
            let mut response = agent.post(&url).send(&bytes[..]).unwrap();
            response.body_mut().as_reader().read_to_end(&mut back).unwrap();
            assert!(back.iter().rev().eq(bytes.iter()), "{n}, round {round}: {} bytes", back.len());
        }
    });
}

fn timeout_global_ends_the_wait() {
    let site = Site::new();
    let url = site.url("127.0.0.1", "nap/2000");
    let limit = Duration::from_millis(300);
    overlapping(limit, || {
        crowd(move |_| {
            let limited = Agent::config_builder().timeout_global(Some(limit)).build().new_agent();
            let ended = limited.get(&url).call();
            assert!(matches!(ended, Err(Error::Timeout(_))), "{ended:?}");
        })
    });
}

fn call_returns_errors_of_status_and_connection() {
    let site = Site::new();
    let unknown = site.url("127.0.0.1", "unknown");
    crowd(move |_| {
        assert!(matches!(agent().get(&unknown).call(), Err(Error::StatusCode(404))));
        // No server listens on this port, and the kernel does not give it out.
        assert!(matches!(
            agent().get("http://127.0.0.1:1/").call(),
            Err(Error::Io(_) | Error::ConnectionFailed)
        ));
    });
}
