//! The postgres crate, unmodified: each of its clients has a tokio runtime of its own, which waits in `epoll_wait`.

use greenline_clients::{CROWD, crowd, overlapping, server, wait_until};
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, NoTls};
use std::io::{Read, Write};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

greenline_clients::main![
    query_one_of_slow_queries_overlaps,
    pg_advisory_lock_by_all_waits_until_it_is_released,
    transactions_commit_and_rollback_apart,
    query_and_copy_return_the_rows_that_were_written,
    blocking_iter_by_all_returns_each_notification,
    query_returns_errors_and_the_client_goes_on,
    cancel_query_by_another_thread_ends_a_query,
];

/// Connects a client: by TCP if its number is even, by a Unix socket if it is odd.
fn connect(n: usize) -> Client {
    let address = server(["GREENLINE_POSTGRES", "GREENLINE_POSTGRES_SOCKET"][n % 2]);
    Client::connect(&address, NoTls).unwrap()
}

fn number(client: &mut Client, query: &str) -> i64 {
    client.query_one(query, &[]).unwrap().get(0)
}

fn query_one_of_slow_queries_overlaps() {
    let connected = Arc::new(Barrier::new(CROWD));
    overlapping(Duration::from_millis(4 * 50), || {
        crowd(move |n| {
            let mut client = connect(n);
            connected.wait();
            for round in 0..4 {
                let row = client.query_one("SELECT pg_sleep(0.05), $1::int8 * 2", &[&(round + n as i64)]);
                assert_eq!(row.unwrap().get::<_, i64>(1), (round + n as i64) * 2);
            }
        })
    });
}

fn pg_advisory_lock_by_all_waits_until_it_is_released() {
    let mut holder = connect(0);
    holder.execute("SELECT pg_advisory_lock(7)", &[]).unwrap();
    let opener = thread::spawn(move || {
        // The server counts the clients that wait.
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        wait_until(|| number(&mut holder, waiting) == CROWD as i64);
        holder.execute("SELECT pg_advisory_unlock(7)", &[]).unwrap();
    });
    crowd(|n| {
        let mut client = connect(n);
        client.execute("SELECT pg_advisory_lock(7)", &[]).unwrap();
        client.execute("SELECT pg_advisory_unlock(7)", &[]).unwrap();
    });
    opener.join().unwrap();
}

fn transactions_commit_and_rollback_apart() {
    let mut client = connect(0);
    client
        .batch_execute(
            "CREATE TABLE counts (n INT8); INSERT INTO counts VALUES (0); CREATE TABLE done (writer INT8)",
        )
        .unwrap();
    crowd(|n| {
        let mut client = connect(n);
        let mut transaction = client.transaction().unwrap();
        // This waits for a transaction that has changed the row and has not ended.
        transaction.execute("UPDATE counts SET n = n + 1", &[]).unwrap();
        transaction.execute("INSERT INTO done VALUES ($1)", &[&(n as i64)]).unwrap();
        thread::sleep(Duration::from_millis(1));
        if n % 4 == 0 { transaction.rollback() } else { transaction.commit() }.unwrap();
    });
    let expected = (CROWD - CROWD / 4) as i64;
    assert_eq!(number(&mut client, "SELECT n FROM counts"), expected);
    assert_eq!(number(&mut client, "SELECT count(*) FROM done WHERE writer % 4 <> 0"), expected);
    assert_eq!(number(&mut client, "SELECT count(*) FROM done WHERE writer % 4 = 0"), 0);
}

fn query_and_copy_return_the_rows_that_were_written() {
    connect(0).batch_execute("CREATE TABLE texts (writer INT8, number INT8, text TEXT)").unwrap();
    crowd(|n| {
        let mut client = connect(n);
        let text = |number: usize| format!("{n} {number} ").repeat(100);
        let writer = n as i64;
        let insert = client.prepare("INSERT INTO texts VALUES ($1, $2, $3)").unwrap();
        for number in 0..5 {
            assert_eq!(client.execute(&insert, &[&writer, &(number as i64), &text(number)]).unwrap(), 1);
        }
        // The stream is larger than a socket's buffer.
        let mut stream = client.copy_in("COPY texts FROM STDIN").unwrap();
        for number in 5..500 {
            writeln!(stream, "{n}\t{number}\t{}", text(number)).unwrap();
        }
        assert_eq!(stream.finish().unwrap(), 495);
        let rows = client
            .query(
                "SELECT number, text FROM texts WHERE writer = $1 AND number < 20 ORDER BY number",
                &[&writer],
            )
            .unwrap();
        let rows = rows.iter().map(|row| (row.get::<_, i64>(0) as usize, row.get::<_, String>(1)));
        assert!(rows.eq((0..20).map(|number| (number, text(number)))));
        let mut all = String::new();
        let query = format!("COPY (SELECT text FROM texts WHERE writer = {n} ORDER BY number) TO STDOUT");
        client.copy_out(&query).unwrap().read_to_string(&mut all).unwrap();
        assert!(all.lines().eq((0..500).map(text)));
    });
}

fn blocking_iter_by_all_returns_each_notification() {
    let ready = Arc::new(Barrier::new(CROWD + 1));
    let listening = ready.clone();
    let notifier = thread::spawn(move || {
        listening.wait();
        let mut client = connect(0);
        (0..5).for_each(|n| client.batch_execute(&format!("NOTIFY news, '{n}'")).unwrap());
    });
    crowd(move |n| {
        let mut client = connect(n);
        client.batch_execute("LISTEN news").unwrap();
        ready.wait();
        let mut notifications = client.notifications();
        let payloads = notifications.blocking_iter().map(|news| Ok(news.payload().to_string()));
        assert_eq!(payloads.take(5).collect::<Vec<_>>().unwrap(), ["0", "1", "2", "3", "4"]);
    });
    notifier.join().unwrap();
}

fn query_returns_errors_and_the_client_goes_on() {
    overlapping(Duration::from_millis(200), || {
        crowd(|n| {
            let mut client = connect(n);
            let error = client.query("SELECT 1 / 0", &[]).unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
            client.batch_execute("SET statement_timeout = 200").unwrap();
            let error = client.query("SELECT pg_sleep(60)", &[]).unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
            assert_eq!(number(&mut client, "SELECT 7::INT8"), 7);
        })
    });
}

fn cancel_query_by_another_thread_ends_a_query() {
    crowd(|n| {
        let mut client = connect(n);
        let cancel = client.cancel_token();
        client
            .execute("SELECT set_config('application_name', $1, false)", &[&format!("cancel {n}")])
            .unwrap();
        let canceller = thread::spawn(move || {
            // The query must have started before it is cancelled.
            thread::sleep(Duration::from_millis(200));
            cancel.cancel_query(NoTls).unwrap();
        });
        let error = client.query("SELECT pg_sleep(60)", &[]).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
        canceller.join().unwrap();
    });
}
