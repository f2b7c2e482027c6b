//! The redis crate, unmodified: plain sockets of std, with timeouts.

use greenline_clients::{CROWD, crowd, overlapping, server, wait_until};
use redis::{Client, Commands, Connection, RedisResult, cmd, pipe, transaction};
use std::sync::{Arc, Barrier};
use std::time::Duration;

greenline_clients::main![
    blpop_by_all_waits_until_each_gets_an_item,
    get_message_by_all_returns_what_is_published,
    pipeline_query_returns_results_in_order,
    transactions_that_conflict_try_again,
    set_and_get_of_1_mib_is_whole,
    set_read_timeout_ends_a_blpop,
];

fn connect() -> Connection {
    Client::open(server("GREENLINE_REDIS")).unwrap().get_connection().unwrap()
}

/// Returns a value of the server's `INFO`.
fn server_value(connection: &mut Connection, section: &str, name: &str) -> usize {
    let text: String = cmd("INFO").arg(section).query(connection).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim().parse().unwrap()
}

fn blpop_by_all_waits_until_each_gets_an_item() {
    let feeder = std::thread::spawn(|| {
        let mut connection = connect();
        wait_until(|| server_value(&mut connection, "clients", "blocked_clients") == CROWD);
        for n in (0..CROWD).rev() {
            let () = connection.rpush(format!("list {n}"), n * n).unwrap();
        }
    });
    let squares = crowd(|n| {
        let (list, square): (String, usize) = connect().blpop(format!("list {n}"), 0.0).unwrap();
        assert_eq!(list, format!("list {n}"));
        square
    });
    feeder.join().unwrap();
    assert_eq!(squares, (0..CROWD).map(|n| n * n).collect::<Vec<_>>());

    // Each item of one list goes to one client.
    let feeder = std::thread::spawn(|| {
        let mut connection = connect();
        wait_until(|| server_value(&mut connection, "clients", "blocked_clients") == CROWD);
        (0..CROWD).for_each(|n| connection.rpush("one list", n).unwrap());
    });
    let mut taken: Vec<usize> = crowd(|_| connect().blpop::<_, (String, _)>("one list", 0.0).unwrap().1);
    feeder.join().unwrap();
    taken.sort_unstable();
    assert_eq!(taken, (0..CROWD).collect::<Vec<_>>());
}

fn get_message_by_all_returns_what_is_published() {
    const MESSAGES: usize = 20;
    let publisher = std::thread::spawn(|| {
        let mut connection = connect();
        wait_until(|| {
            let (_, count): (String, usize) =
                cmd("PUBSUB").arg("NUMSUB").arg("news").query(&mut connection).unwrap();
            count == CROWD
        });
        for n in 0..MESSAGES {
            assert_eq!(connection.publish::<_, _, usize>("news", n).unwrap(), CROWD);
        }
    });
    let received = crowd(|_| {
        let mut connection = connect();
        let mut subscription = connection.as_pubsub();
        subscription.subscribe("news").unwrap();
        let mut next = || subscription.get_message().unwrap().get_payload::<usize>().unwrap();
        (0..MESSAGES).map(|_| next()).collect::<Vec<_>>()
    });
    publisher.join().unwrap();
    assert!(received.iter().all(|received| received.iter().copied().eq(0..MESSAGES)));
}

fn pipeline_query_returns_results_in_order() {
    let () = connect().del("together").unwrap();
    crowd(|n| {
        let mut connection = connect();
        let own = format!("count {n}");
        let () = connection.del(&own).unwrap();
        for round in 0..10 {
            let mut pipeline = pipe();
            for _ in 0..20 {
                pipeline.incr(&own, 1).cmd("ECHO").arg(&own).incr("together", 1).ignore();
            }
            let results: Vec<redis::Value> = pipeline.query(&mut connection).unwrap();
            let results: Vec<(usize, String)> =
                redis::from_redis_value(redis::Value::Array(results)).unwrap();
            assert!(
                results.into_iter().eq((1..=20).map(|count| (round * 20 + count, own.clone()))),
                "{own}, round {round}"
            );
        }
    });
    assert_eq!(connect().get::<_, usize>("together").unwrap(), CROWD * 10 * 20);
}

fn transactions_that_conflict_try_again() {
    let () = connect().set("shared", 0).unwrap();
    // The transactions run in groups of ten, because all but one of those that watch a key have to try again.
    let turn = Arc::new(Barrier::new(10));
    let tries = crowd(move |_| {
        let mut connection = connect();
        let mut tries = 0;
        turn.wait();
        let () = transaction(&mut connection, &["shared"], |connection, pipeline| {
            tries += 1;
            let seen: usize = connection.get("shared")?;
            pipeline.set("shared", seen + 1).ignore().query(connection)
        })
        .unwrap();
        tries
    });
    assert_eq!(connect().get::<_, usize>("shared").unwrap(), CROWD);
    assert!(tries.iter().sum::<usize>() > CROWD, "no transactions conflicted");
}

fn set_and_get_of_1_mib_is_whole() {
    crowd(|n| {
        let mut connection = connect();
        let bytes = vec![n as u8; 1 << 20];
        let (back,): (Vec<u8>,) = pipe()
            .set(format!("large {}", n % 4), &bytes)
            .ignore()
            .get(format!("large {}", n % 4))
            .query(&mut connection)
            .unwrap();
        // Another client may have set the key meanwhile. The value is never a mixture.
        assert!(back == vec![back[0]; 1 << 20]);
    });
}

fn set_read_timeout_ends_a_blpop() {
    let limit = Duration::from_millis(200);
    overlapping(limit, || {
        crowd(move |n| {
            let mut connection = connect();
            connection.set_read_timeout(Some(limit)).unwrap();
            let never: RedisResult<(String, usize)> = connection.blpop(format!("never {n}"), 0.0);
            assert!(never.unwrap_err().is_timeout());
        })
    });
}
