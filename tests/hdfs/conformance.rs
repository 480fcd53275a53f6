//! HDFS keeps the contract of destinations: the suite that a local directory is held to as well.

use sewer_shipper::destination::{Options, open};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};

use crate::contract;

#[tokio::test(flavor = "multi_thread")]
async fn hdfs_keeps_the_contract() {
    if !hdfs::available_or_skip("hdfs::conformance") {
        return;
    }
    let hdfs = Hdfs::start(&HdfsOptions::default());
    let uri = format!("{}/out", hdfs.uri());
    let options = Options { hadoop_conf_dir: Some(hdfs.conf_dir()), ..Options::default() };
    let reopen = || open(&uri, options.clone()).expect("a valid URI");
    contract::all(&reopen, "/base").await;
    let listed = hdfs.list_files("/out/base/once");
    assert_eq!(listed.len(), 1, "paths are taken under the URI's: {listed:?}");
    let open: Vec<_> = hdfs.open_files("/").into_iter().map(|file| file.path).collect();
    assert!(open.is_empty(), "files with a lease: {open:?}");
}
