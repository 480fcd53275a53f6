//! What each call promises.

use std::sync::Arc;

use bytes::Bytes;
use sewer_shipper::destination::{Destination, Kind};

use super::files::{begin, content, get, list, names, put};

pub async fn create_makes_parents(destination: &dyn Destination, dir: &str) {
    let path = format!("{dir}/2030-01-01/00/.x.1.tmp");
    put(destination, &path, b"x").await.expect("no directory is there yet");
    put(destination, &format!("{dir}/2030-01-01/00/.y.1.tmp"), b"y").await.expect("it is there");
    let entries = list(destination, &format!("{dir}/2030-01-01")).await.expect("list");
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert!(entries[0].is_dir && entries[0].name == "00", "{entries:?}");
}

pub async fn create_never_overwrites(destination: &dyn Destination, dir: &str) {
    let path = format!("{dir}/x");
    put(destination, &path, b"first").await.expect("the name is free");
    let error = begin(destination, &path).await.err().expect("the name is taken");
    assert_eq!(error.kind(), Kind::AlreadyExists, "{error}");
    assert_eq!(get(destination, &path).await.expect("read"), b"first");

    let path = format!("{dir}/open");
    let mut open = begin(destination, &path).await.expect("the name is free");
    open.write(Bytes::from_static(b"first")).await.expect("write");
    let error = begin(destination, &path).await.err().expect("it is being written");
    assert_eq!(error.kind(), Kind::AlreadyExists, "{error}");
    assert_eq!(open.close().await.expect("the first writer goes on"), 5);
}

pub async fn written_bytes_read_back(destination: &dyn Destination, dir: &str) {
    for length in [0, 1, 511, 3_500_001] {
        let path = format!("{dir}/{length}");
        let written = content(length);
        let confirmed = put(destination, &path, &written).await.expect("write");
        assert_eq!(confirmed, u64::from(length));
        let read = get(destination, &path).await.expect("read");
        assert!(read == written, "{} of {length} bytes differ or are missing", read.len());
    }
    let error = get(destination, &format!("{dir}/missing")).await.expect_err("no such file");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}

pub async fn length_is_exact_and_none_only_when_missing(destination: &dyn Destination, dir: &str) {
    let path = format!("{dir}/sub/x");
    assert_eq!(destination.length(&path).await.expect("no directory"), None);
    put(destination, &path, &content(70_001)).await.expect("write");
    assert_eq!(destination.length(&path).await.expect("look"), Some(70_001));
    assert_eq!(destination.length(&format!("{dir}/sub/y")).await.expect("no file"), None);
    let error = destination.length(&format!("{dir}/sub")).await.expect_err("a directory");
    assert_eq!(error.reason(), "is_a_directory", "{error}");
}

pub async fn rename_never_overwrites(destination: &dyn Destination, dir: &str) {
    let (a, b, c) = (format!("{dir}/a"), format!("{dir}/b"), format!("{dir}/c"));
    put(destination, &a, b"a").await.expect("write");
    put(destination, &b, b"bb").await.expect("write");
    let error = destination.rename(&a, &b).await.expect_err("b is there");
    assert_eq!(error.kind(), Kind::AlreadyExists, "{error}");
    assert_eq!(get(destination, &b).await.expect("read"), b"bb");
    assert_eq!(get(destination, &a).await.expect("read"), b"a");
    destination.rename(&a, &c).await.expect("c is free");
    assert_eq!(get(destination, &c).await.expect("read"), b"a");
    assert_eq!(names(destination, dir).await, ["b", "c"]);
    let error = destination.rename(&a, &format!("{dir}/d")).await.expect_err("a is gone");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}

pub async fn delete_says_whether_there_was_something(destination: &dyn Destination, dir: &str) {
    let path = format!("{dir}/x");
    assert!(!destination.delete(&path).await.expect("no directory"));
    put(destination, &path, b"x").await.expect("write");
    assert!(destination.delete(&path).await.expect("delete"));
    assert!(!destination.delete(&path).await.expect("nothing is left"));
    assert_eq!(destination.length(&path).await.expect("look"), None);
    let error = destination.delete(dir).await.expect_err("directories stay");
    assert_eq!(error.reason(), "is_a_directory", "{error}");
}

pub async fn list_names_what_is_there(destination: &dyn Destination, dir: &str) {
    assert_eq!(list(destination, dir).await.expect("a missing directory has no names"), []);
    put(destination, &format!("{dir}/.x.1.tmp"), b"123").await.expect("write");
    put(destination, &format!("{dir}/y"), b"12345").await.expect("write");
    put(destination, &format!("{dir}/sub/z"), b"").await.expect("write");
    let mut entries = list(destination, dir).await.expect("list");
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let found: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.length, e.is_dir)).collect();
    assert_eq!(found, [(".x.1.tmp", 3, false), ("sub", 0, true), ("y", 5, false)]);
    let error = list(destination, &format!("{dir}/y")).await.expect_err("a file");
    assert_eq!(error.kind(), Kind::Stuck, "{error}");
}

pub async fn paths_stay_inside(destination: &dyn Destination) {
    for path in ["/../x", "/a/./x", "x", "/a//x"] {
        let error = destination.length(path).await.expect_err(path);
        assert_eq!(error.reason(), "configuration", "{error}");
        assert!(begin(destination, path).await.is_err(), "{path}");
    }
}

/// What a client shares between its calls does not end with the one that went wrong.
pub async fn reading_goes_on_after_an_output_was_abandoned(
    destination: &dyn Destination,
    dir: &str,
) {
    let (path, written) = (format!("{dir}/x"), content(2_500_000));
    put(destination, &path, &written).await.expect("write");
    let mut half_read = destination.read(&path).await.expect("read");
    let first = half_read.next().await.expect("there is data").expect("read");
    for attempt in 1..=3 {
        assert!(get(destination, &path).await.expect("read") == written, "attempt {attempt}");
        let abandoned = begin(destination, &format!("{dir}/.y.{attempt}.tmp")).await;
        let mut abandoned = abandoned.expect("create");
        abandoned.write(Bytes::from(content(300_000))).await.expect("write");
    }
    let mut read = first.to_vec();
    while let Some(chunk) = half_read.next().await {
        read.extend_from_slice(&chunk.expect("what was begun before goes on too"));
    }
    assert!(read == written, "{} bytes", read.len());
    for attempt in 1..=3 {
        let deleted = destination.delete(&format!("{dir}/.y.{attempt}.tmp")).await;
        assert!(deleted.expect("delete"));
    }
}

pub async fn an_abandoned_output_can_be_removed_by_another_process(
    open: &dyn Fn() -> Arc<dyn Destination>,
    dir: &str,
) {
    let (temporary, final_name) = (format!("{dir}/.x.1.tmp"), format!("{dir}/x"));
    let died = open();
    let mut output = begin(&*died, &temporary).await.expect("create");
    output.write(Bytes::from(content(300_000))).await.expect("write");
    drop(output);
    drop(died);

    let restarted = open();
    assert_eq!(restarted.length(&final_name).await.expect("look"), None);
    assert_eq!(names(&*restarted, dir).await, [".x.1.tmp"]);
    assert!(restarted.delete(&temporary).await.expect("whoever wrote it is gone"));
    assert!(names(&*restarted, dir).await.is_empty());
    put(&*restarted, &temporary, b"again").await.expect("no lease is left on the name");
}
