//! What publishing promises: once, never over another file, and repeatable.

use std::sync::Arc;

use bytes::Bytes;
use sewer_shipper::destination::{Destination, Fingerprint, Kind, Published, probe, publish};

use super::files::{begin, content, get, names, put, write};

pub async fn a_file_is_published_once(destination: &dyn Destination, dir: &str) {
    let (temporary, final_name) = (format!("{dir}/.x.1.tmp"), format!("{dir}/x"));
    let written = write(destination, &temporary, &content(5000)).await;
    let published = publish(destination, &temporary, &final_name, written).await;
    assert_eq!(published.expect("nothing is in the way"), Published::Now);
    let published = publish(destination, &temporary, &final_name, written).await;
    assert_eq!(published.expect("it is done"), Published::Already);
    assert_eq!(names(destination, dir).await, ["x"]);
    assert_eq!(get(destination, &final_name).await.expect("read"), content(5000));
}

pub async fn another_file_under_the_final_name_is_a_conflict(
    destination: &dyn Destination,
    dir: &str,
) {
    let (temporary, final_name) = (format!("{dir}/.x.1.tmp"), format!("{dir}/x"));
    let ours = write(destination, &temporary, b"ours").await;
    // Also one of the same length.
    for theirs in [&b"theirs"[..], b"hers"] {
        put(destination, &final_name, theirs).await.expect("write");
        let published = publish(destination, &temporary, &final_name, ours).await;
        let error = published.expect_err("it is taken");
        assert_eq!(error.kind(), Kind::Conflict, "{error}");
        assert_eq!(get(destination, &temporary).await.expect("read"), b"ours");
        assert_eq!(get(destination, &final_name).await.expect("read"), theirs);
        assert!(destination.delete(&final_name).await.expect("delete"));
    }
}

pub async fn nothing_to_publish_is_an_error(destination: &dyn Destination, dir: &str) {
    put(destination, &format!("{dir}/other"), b"").await.expect("write");
    let (temporary, final_name) = (format!("{dir}/.x.1.tmp"), format!("{dir}/x"));
    let content = Fingerprint::of(b"what");
    let published = publish(destination, &temporary, &final_name, content).await;
    let error = published.expect_err("neither file is there");
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    assert_eq!(names(destination, dir).await, ["other"]);
}

pub async fn both_names_with_the_expected_content_are_published(
    destination: &dyn Destination,
    dir: &str,
) {
    let (temporary, final_name) = (format!("{dir}/.x.2.tmp"), format!("{dir}/x"));
    put(destination, &final_name, b"same").await.expect("write");
    let same = write(destination, &temporary, b"same").await;
    let published = publish(destination, &temporary, &final_name, same).await;
    assert_eq!(published.expect("it is there"), Published::Already);
    assert_eq!(names(destination, dir).await, ["x"], "the second copy is removed");
}

pub async fn a_file_of_another_length_is_not_published(destination: &dyn Destination, dir: &str) {
    let (temporary, final_name) = (format!("{dir}/.x.1.tmp"), format!("{dir}/x"));
    put(destination, &temporary, b"short").await.expect("write");
    let whole = Fingerprint::of(b"short.");
    let published = publish(destination, &temporary, &final_name, whole).await;
    let error = published.expect_err("5 of 6 bytes");
    assert_eq!((error.kind(), error.reason()), (Kind::Poisoned, "length"), "{error}");
    assert_eq!(names(destination, dir).await, [".x.1.tmp"]);
}

pub async fn a_file_still_being_written_is_not_published(
    open: &dyn Fn() -> Arc<dyn Destination>,
    dir: &str,
) {
    let (temporary, final_name) = (format!("{dir}/.x.1.tmp"), format!("{dir}/x"));
    let (paused, successor) = (open(), open());
    let mut output = begin(&*paused, &temporary).await.expect("create");
    output.write(Bytes::from(content(300_000))).await.expect("write");
    // One byte is still missing.
    let whole = Fingerprint::of(&content(300_001));
    let published = publish(&*successor, &temporary, &final_name, whole).await;
    let error = published.expect_err("the file is not whole");
    assert_eq!(error.reason(), "length", "{error}");
    assert_eq!(successor.length(&final_name).await.expect("look"), None);
    drop(output);
}

pub async fn the_probe_leaves_nothing_behind(destination: &dyn Destination, dir: &str) {
    probe(destination, dir).await.expect("the destination works");
    assert!(names(destination, dir).await.is_empty(), "only the directory is left");
}
