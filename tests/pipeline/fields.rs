//! Fields beside the eight, from the request to the rows of the destination: what the pixel was
//! told to record is in the WAL as `sewer-wal dump` shows it, and in the JSON that the shipper
//! writes.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sewer_test_support::http::Connection;
use sewer_test_support::pixel::Pixel;
use sewer_test_support::shipper::Shipper;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

const SETS: [&str; 5] = [
    "event.method=true",
    "event.uuid=true",
    "event.extra_headers=[\"Accept-Language\",\"x-absent\"]",
    "event.static={dc=\"ams\"}",
    "pixel.route=[{prefix=\"/beacon\",body=true,fields={kind=\"beacon\"}}]",
];

const REQUESTS: [&[u8]; 2] = [
    b"POST /beacon?q HTTP/1.1\r\nHost: h\r\nAccept-Language: nl\r\nAccept-Language: de\r\n\
        Content-Length: 10\r\n\r\n{\"a\":\xff\n\t\"}",
    b"PURGE /p HTTP/1.1\r\nHost: h\r\nAccept-Language:\r\n\r\n",
];

/// Sends the requests, stops the pixel and returns what is in the WAL.
fn record(directory: &Path) -> Vec<Value> {
    let mut pixel = Pixel::started(BINARY, directory, &SETS);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    for request in REQUESTS {
        assert_eq!(connection.request(request).unwrap().status, 204);
    }
    pixel.stop();
    pixel.dump()
}

/// Ships everything and returns the rows that `--cat` shows.
fn ship(directory: &Path, format: &str) -> Vec<Value> {
    let out = directory.join("out");
    let set = format!("destination.format={format}");
    let shipper = Shipper::new(BINARY, directory, &format!("file://{}", out.display()), &[&set]);
    shipper.run(&["--replay"]).expect_success();
    let files = files_in(&out);
    assert_eq!(files.len(), 1, "{files:?}");
    let rows = shipper.run(&["--cat", &files[0].display().to_string()]).expect_success();
    rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_recorded_field_is_in_the_wal_and_in_the_json_at_the_destination() {
    let directory = tempfile::tempdir().unwrap();
    let mut events = record(directory.path());
    for (lsn, event) in events.iter_mut().enumerate() {
        assert_eq!(event.as_object_mut().unwrap().remove("lsn"), Some(json!(lsn)));
    }
    assert_eq!(ship(directory.path(), "json"), events, "the rows are the events");

    let ids: Vec<_> = events.iter().map(|event| event["uuid"].as_str().unwrap()).collect();
    // Version 7, and the time of the event in its first 48 bits.
    for (id, event) in ids.iter().zip(&events) {
        assert_eq!((id.len(), &id[14..15]), (36, "7"), "{id}");
        let time = i64::from_str_radix(&id[..13].replace('-', ""), 16).unwrap();
        assert_eq!(event["timestamp"], time);
    }
    assert_ne!(ids[0], ids[1]);
    let names = ["method", "accept-language", "body_base64", "dc", "kind"];
    let extra = |event: &Value| names.map(|name| event[name].clone());
    // The body, which is no UTF-8, can be restored.
    let beacon = ["POST", "nl", "eyJhIjr/CgkifQ==", "ams", "beacon"].map(Value::from);
    assert_eq!(extra(&events[0]), beacon);
    assert_eq!(events[0].get("body"), None);
    assert_eq!(
        extra(&events[1]),
        [json!("PURGE"), json!(""), json!(null), json!("ams"), json!(null)]
    );
    assert_eq!(events[0].get("x-absent"), None, "a header that is not there is no field");
}

#[test]
fn the_access_log_has_its_eight_fields_whatever_else_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    record(directory.path());
    let rows = ship(directory.path(), "access-log");
    assert_eq!(rows.len(), REQUESTS.len());
    let mut names: Vec<_> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let eight = [
        "cookies",
        "host",
        "ip",
        "query_string",
        "referer",
        "request_path",
        "sort_hash",
        "timestamp",
        "user_agent",
    ];
    assert_eq!(names, eight);
}
