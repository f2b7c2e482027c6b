//! The postgres crate, unchanged: each of its clients has a runtime of tokio's to itself, which waits in `epoll_wait`.

use greenline_clients::{CROWD, crowd, overlapping, server, wait_until};
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, NoTls};
use std::io::{Read, Write};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

greenline_clients::main![
    queries_that_take_their_time_overlap,
    all_wait_for_one_lock_at_once,
    transactions_keep_apart,
    rows_come_back_as_they_were_put,
    all_are_notified,
    errors_come_back_and_the_client_goes_on,
    a_query_is_cancelled_from_elsewhere,
];

/// A client; those with odd numbers by a Unix socket.
fn connect(n: usize) -> Client {
    let address = server(["GREENLINE_POSTGRES", "GREENLINE_POSTGRES_SOCKET"][n % 2]);
    Client::connect(&address, NoTls).unwrap()
}

fn number(client: &mut Client, query: &str) -> i64 {
    client.query_one(query, &[]).unwrap().get(0)
}

fn queries_that_take_their_time_overlap() {
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

fn all_wait_for_one_lock_at_once() {
    let mut holder = connect(0);
    holder.execute("SELECT pg_advisory_lock(7)", &[]).unwrap();
    let opens = thread::spawn(move || {
        // It is the server that says so.
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        wait_until(|| number(&mut holder, waiting) == CROWD as i64);
        holder.execute("SELECT pg_advisory_unlock(7)", &[]).unwrap();
    });
    crowd(|n| {
        let mut client = connect(n);
        client.execute("SELECT pg_advisory_lock(7)", &[]).unwrap();
        client.execute("SELECT pg_advisory_unlock(7)", &[]).unwrap();
    });
    opens.join().unwrap();
}

fn transactions_keep_apart() {
    let mut client = connect(0);
    client
        .batch_execute(
            "CREATE TABLE counts (n INT8); INSERT INTO counts VALUES (0); CREATE TABLE done (writer INT8)",
        )
        .unwrap();
    crowd(|n| {
        let mut client = connect(n);
        let mut transaction = client.transaction().unwrap();
        // Waits for whoever has changed the row and not ended.
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

fn rows_come_back_as_they_were_put() {
    connect(0).batch_execute("CREATE TABLE texts (writer INT8, number INT8, text TEXT)").unwrap();
    crowd(|n| {
        let mut client = connect(n);
        let text = |number: usize| format!("{n} {number} ").repeat(100);
        let writer = n as i64;
        let insert = client.prepare("INSERT INTO texts VALUES ($1, $2, $3)").unwrap();
        for number in 0..5 {
            assert_eq!(client.execute(&insert, &[&writer, &(number as i64), &text(number)]).unwrap(), 1);
        }
        // And by a stream, which is more than a socket takes.
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

fn all_are_notified() {
    let ready = Arc::new(Barrier::new(CROWD + 1));
    let listening = ready.clone();
    let teller = thread::spawn(move || {
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
    teller.join().unwrap();
}

fn errors_come_back_and_the_client_goes_on() {
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

fn a_query_is_cancelled_from_elsewhere() {
    crowd(|n| {
        let mut client = connect(n);
        let cancel = client.cancel_token();
        client
            .execute("SELECT set_config('application_name', $1, false)", &[&format!("cancel {n}")])
            .unwrap();
        let canceller = thread::spawn(move || {
            // By waiting until it is cancelled, whatever the server was at when it was asked first.
            thread::sleep(Duration::from_millis(200));
            cancel.cancel_query(NoTls).unwrap();
        });
        let error = client.query("SELECT pg_sleep(60)", &[]).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
        canceller.join().unwrap();
    });
}
