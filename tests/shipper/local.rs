//! A local directory keeps the contract of destinations, and opens by its URI.

use std::sync::Arc;

use sewer_shipper::destination::{Destination, Kind, Options, open, split};

use crate::contract::{self, files};

#[tokio::test]
async fn a_local_directory_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(dir.path().join("out")).expect("create");
    let uri = format!("file://{}/out", dir.path().display());
    let reopen = || open(&uri, Options::default()).expect("a valid URI");
    contract::all(&reopen, "/base").await;
    assert!(dir.path().join("out/base/once/x").is_file(), "paths are taken under the URI's");
}

#[tokio::test]
async fn a_local_file_is_read_by_its_uri() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("x"), "content").expect("write");
    let (uri, path) = split(&format!("file://{}/x", dir.path().display())).expect("a valid URI");
    let there = open(&uri, Options::default()).expect("a valid URI");
    assert_eq!(files::get(&*there, &path).await.expect("read"), b"content");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_taken_for_absent() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("file"), "").expect("write");
    let uri = format!("file://{}", dir.path().display());
    let there: Arc<dyn Destination> = open(&uri, Options::default()).expect("a valid URI");
    let error = there.length("/file/x").await.expect_err("a file is no directory");
    assert_eq!(error.kind(), Kind::Stuck, "{error}");
    let error = files::put(&*there, "/file/x", b"").await.expect_err("nor can it become one");
    assert_eq!(error.kind(), Kind::Stuck, "{error}");
    let error = there.delete("/file/x").await.expect_err("nor be searched");
    assert_eq!(error.kind(), Kind::Stuck, "{error}");

    let conf = Some(dir.path().join("missing"));
    let options = Options { hadoop_conf_dir: conf, ..Options::default() };
    let there = open("hdfs://nameservice", options).expect("a valid URI");
    let error = there.length("/x").await.expect_err("there is no configuration");
    assert_eq!((error.kind(), error.reason()), (Kind::Stuck, "configuration"), "{error}");
}

#[test]
fn an_unknown_scheme_is_a_configuration_error() {
    let error = open("s3://bucket/x", Options::default()).expect_err("not a destination");
    assert_eq!(error.reason(), "configuration");
    assert!(error.to_string().contains("s3://bucket/x"), "{error}");
}
