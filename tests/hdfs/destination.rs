//! What an HDFS destination promises while HDFS misbehaves.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::contract::files::{begin, content, get, names, put, write};
use bytes::Bytes;
use sewer_shipper::destination::{
    CreateOptions, Destination, DestinationError, Fingerprint, Kind, Lowered, Options, Published,
    open, publish,
};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};

const RPC_TIMEOUT: Duration = Duration::from_secs(5);
const DATA_TIMEOUT: Duration = Duration::from_secs(10);
/// What a call may take beyond its timeout on a busy machine.
const SLACK: Duration = Duration::from_secs(15);

fn cluster(options: &HdfsOptions) -> Option<Hdfs> {
    hdfs::available_or_skip("hdfs::destination").then(|| Hdfs::start(options))
}

fn options() -> Options {
    Options { rpc_timeout: RPC_TIMEOUT, data_timeout: DATA_TIMEOUT, ..Options::default() }
}

fn client_of(hdfs: &Hdfs) -> Arc<dyn Destination> {
    let options = Options { hadoop_conf_dir: Some(hdfs.conf_dir()), ..options() };
    open(&hdfs.uri(), options).expect("a valid URI")
}

/// Waits for a call that must fail within `limit`.
async fn fails_within<T>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = Result<T, DestinationError>>,
) -> DestinationError {
    let start = Instant::now();
    let error = call.await.err().unwrap_or_else(|| panic!("{what} succeeded"));
    assert!(start.elapsed() < limit + SLACK, "{what} took {:?}: {error}", start.elapsed());
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_namenode_leaves_outcomes_unknown_and_publishing_converges() {
    let Some(hdfs) = cluster(&HdfsOptions::default()) else { return };
    let there = client_of(&hdfs);
    let written = content(200_000);
    let written_as = write(&*there, "/d/.x.1.tmp", &written).await;
    let mut output = begin(&*there, "/open/.y.1.tmp").await.expect("HDFS is well");

    hdfs.namenode().freeze();
    let (tmp, x) = ("/d/.x.1.tmp", "/d/x");
    let errors = [
        fails_within(RPC_TIMEOUT, "rename", there.rename(tmp, x)).await,
        fails_within(RPC_TIMEOUT, "publish", publish(&*there, tmp, x, written_as)).await,
        fails_within(RPC_TIMEOUT, "length", there.length(tmp)).await,
        fails_within(RPC_TIMEOUT, "settle", there.settle(tmp)).await,
        fails_within(RPC_TIMEOUT, "list", there.list("/d")).await,
        fails_within(RPC_TIMEOUT, "read", there.read(tmp)).await,
        fails_within(RPC_TIMEOUT, "delete", there.delete("/open/.z.1.tmp")).await,
        fails_within(RPC_TIMEOUT, "create", begin(&*there, "/open/.z.1.tmp")).await,
        fails_within(DATA_TIMEOUT, "write", output.write(Bytes::from(content(200_000)))).await,
    ];
    for error in &errors {
        assert!(error.outcome_unknown() && error.reason() == "timeout", "{error}");
    }
    let error = fails_within(RPC_TIMEOUT, "close", output.close()).await;
    assert_eq!(error.kind(), Kind::Poisoned, "{error}");
    hdfs.namenode().thaw();
    hdfs.wait_until_ready();

    publish(&*there, tmp, x, written_as).await.expect("the same call as before");
    assert_eq!(publish(&*there, tmp, x, written_as).await.expect("again"), Published::Already);
    assert_eq!(names(&*there, "/d").await, ["x"]);
    assert!(get(&*there, x).await.expect("read") == written, "the content is what was written");
    there.delete("/open/.y.1.tmp").await.expect("the abandoned file can be removed");
    there.delete("/open/.z.1.tmp").await.expect("and the one created late, if it was");
    assert!(hdfs.open_files("/").is_empty(), "no lease is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_only_datanode_died_is_poisoned() {
    let Some(hdfs) = cluster(&HdfsOptions::default()) else { return };
    let there = client_of(&hdfs);
    let mut writing = begin(&*there, "/d/.x.1.tmp").await.expect("create");
    let mut closing = begin(&*there, "/d/.y.1.tmp").await.expect("create");
    writing.write(Bytes::from(content(1_000_000))).await.expect("HDFS is well");
    closing.write(Bytes::from(content(1_000))).await.expect("HDFS is well");

    hdfs.datanode(0).kill();
    let mut failed = None;
    for _ in 0..1_000 {
        let start = Instant::now();
        failed = writing.write(Bytes::from(content(1_000_000))).await.err();
        assert!(start.elapsed() < DATA_TIMEOUT + SLACK, "a write took {:?}", start.elapsed());
        if failed.is_some() {
            break;
        }
    }
    let error = failed.expect("a gigabyte does not fit into the client's buffers");
    assert!(error.fewer_replicas_may_help(), "{error}");
    let error = writing.write(Bytes::from_static(b"more")).await.expect_err("it is poisoned");
    assert_eq!(error.kind(), Kind::Poisoned, "{error}");
    let error = writing.close().await.expect_err("it is poisoned");
    assert_eq!(error.kind(), Kind::Poisoned, "{error}");
    let error = fails_within(DATA_TIMEOUT, "close", closing.close()).await;
    assert!(error.fewer_replicas_may_help(), "{error}");
    let error = put(&*there, "/d/.z.1.tmp", b"z").await.expect_err("there is no DataNode");
    assert!(matches!(error.kind(), Kind::Pipeline | Kind::Transient), "{error}");

    hdfs.datanode(0).restart();
    let restarted = client_of(&hdfs);
    for name in ["/d/.x.1.tmp", "/d/.y.1.tmp", "/d/.z.1.tmp"] {
        assert!(restarted.delete(name).await.expect("also a file left open"), "{name}");
    }
    assert!(hdfs.open_files("/").is_empty(), "no lease is left");
    put(&*restarted, "/d/.x.1.tmp", b"again").await.expect("HDFS is well again");
    put(&*there, "/d/.y.1.tmp", b"again").await.expect("also for who saw it fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_datanode_holds_a_writer_no_longer_than_its_timeout() {
    let Some(hdfs) = cluster(&HdfsOptions::default()) else { return };
    let there = client_of(&hdfs);
    let mut output = begin(&*there, "/d/.x.1.tmp").await.expect("create");
    output.write(Bytes::from(content(1_000_000))).await.expect("HDFS is well");
    hdfs.datanode(0).freeze();
    let more = Bytes::from(content(64_000_000));
    let error = fails_within(DATA_TIMEOUT, "write", output.write(more)).await;
    assert!(error.outcome_unknown() && error.fewer_replicas_may_help(), "{error}");
    let error = output.close().await.expect_err("it is poisoned");
    assert_eq!(error.kind(), Kind::Poisoned, "{error}");
    hdfs.datanode(0).thaw();
    hdfs.wait_until_ready();
    assert!(there.delete("/d/.x.1.tmp").await.expect("also a file left open"));
    put(&*there, "/d/.x.2.tmp", b"again").await.expect("HDFS is well again");
}

/// The length that HDFS shows can be the expected one while the file is still open: here that of
/// the finished first block.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_cannot_grow() {
    const BLOCK: u32 = 1024 * 1024;
    let Some(hdfs) = cluster(&HdfsOptions::default()) else { return };
    let small = Options { block_size: Some(u64::from(BLOCK)), ..options() };
    let paused = open(&hdfs.uri(), small).expect("a valid URI");
    let mut output = begin(&*paused, "/d/.x.1.tmp").await.expect("create");
    output.write(Bytes::from(content(BLOCK + 10))).await.expect("HDFS is well");
    let there = client_of(&hdfs);
    assert_eq!(there.length("/d/.x.1.tmp").await.expect("look"), Some(BLOCK.into()), "but open");

    let block = Fingerprint::of(&content(BLOCK));
    publish(&*there, "/d/.x.1.tmp", "/d/x", block).await.expect("its writer is shut out");
    assert!(hdfs.open_files("/").is_empty(), "what is published is closed");
    output.close().await.expect_err("the lease was taken away");
    assert_eq!(there.length("/d/x").await.expect("look"), Some(BLOCK.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn safe_mode_is_transient_and_poisons_what_was_being_written() {
    let Some(hdfs) = cluster(&HdfsOptions::default()) else { return };
    let there = client_of(&hdfs);
    let written = write(&*there, "/d/.x.1.tmp", b"x").await;
    // Its first block is asked for after safe mode has begun: hdfs-native's own close would
    // answer Ok for an empty file.
    let mut output = begin(&*there, "/d/.y.1.tmp").await.expect("HDFS is well");

    hdfs.enter_safe_mode();
    let mut errors = vec![
        begin(&*there, "/d/z").await.err().expect("nothing can be created"),
        there.rename("/d/.x.1.tmp", "/d/x").await.expect_err("nothing can be renamed"),
        publish(&*there, "/d/.x.1.tmp", "/d/x", written).await.expect_err("nor published"),
        there.delete("/d/.x.1.tmp").await.expect_err("nor deleted"),
    ];
    errors.push(output.write(Bytes::from(content(100_000))).await.expect_err("nor written"));
    for error in &errors {
        assert_eq!((error.kind(), error.reason()), (Kind::Transient, "safe_mode"), "{error}");
    }
    assert_eq!(there.length("/d/.x.1.tmp").await.expect("looking is allowed"), Some(1));
    let error = output.close().await.expect_err("it is poisoned");
    assert_eq!(error.kind(), Kind::Poisoned, "{error}");

    hdfs.leave_safe_mode();
    let published = publish(&*there, "/d/.x.1.tmp", "/d/x", written).await;
    assert_eq!(published.expect("the same call as before"), Published::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn quota_and_permission_need_a_human() {
    let Some(hdfs) = cluster(&permissions_on()) else { return };
    let there = client_of(&hdfs);
    put(&*there, "/full/x", &content(1_000)).await.expect("HDFS is well");
    hdfs.dfsadmin(&["-setSpaceQuota", "4096", "/full"]);
    let error = put(&*there, "/full/y", &content(100_000)).await.expect_err("over the quota");
    assert_eq!((error.kind(), error.reason()), (Kind::Stuck, "quota"), "{error}");

    let user = Some("somebody".to_owned());
    let options = Options { hadoop_conf_dir: Some(hdfs.conf_dir()), user, ..options() };
    let other = open(&hdfs.uri(), options).expect("a valid URI");
    let error = put(&*other, "/theirs/x", b"x").await.expect_err("not their directory");
    assert_eq!((error.kind(), error.reason()), (Kind::Stuck, "permission"), "{error}");
    let error = other.delete("/full/x").await.expect_err("not their file");
    assert_eq!((error.kind(), error.reason()), (Kind::Stuck, "permission"), "{error}");
    assert_eq!(there.length("/full/x").await.expect("look"), Some(1_000));
}

fn permissions_on() -> HdfsOptions {
    let config = vec![("dfs.permissions.enabled".to_owned(), "true".to_owned())];
    HdfsOptions { config, ..HdfsOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_datanode_is_got_past_with_fewer_replicas_which_are_restored() {
    let two = HdfsOptions { datanodes: 2, replication: 2, ..HdfsOptions::default() };
    let Some(hdfs) = cluster(&two) else { return };
    let there = client_of(&hdfs);
    hdfs.datanode(1).kill();
    // The NameNode believes for ten minutes that it is alive, and names it for every pipeline.
    let mut create = CreateOptions::default();
    let mut configured = None;
    let mut published = None;
    for attempt in 1..=30 {
        let temporary = format!("/d/.x.{attempt}.tmp");
        let mut output = there.create(&temporary, create).await.expect("create needs no DataNode");
        let closed = match output.write(Bytes::from(content(300_000))).await {
            Ok(()) => output.close().await,
            Err(error) => Err(error),
        };
        match closed {
            Ok(_) => {
                let written = Fingerprint::of(&content(300_000));
                published = Some(publish(&*there, &temporary, "/d/x", written).await);
                break;
            }
            Err(error) => assert!(error.fewer_replicas_may_help(), "{error}"),
        }
        if let Some(Lowered { from, to }) = there.lower_replication(&temporary).await.expect("look")
        {
            configured.get_or_insert(from);
            create.replication = Some(to);
        }
    }
    assert_eq!(published.expect("one node is alive").expect("publish"), Published::Now);
    assert_eq!((configured, create.replication), (Some(2), Some(1)));
    there.restore_replication("/d/x", 2).await.expect("set replication");
    let listed = hdfs.list_files("/d/x");
    assert_eq!(listed.iter().map(|file| file.replication).collect::<Vec<_>>(), [2]);
    assert!(get(&*there, "/d/x").await.expect("read") == content(300_000), "content");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_namenode_is_an_error_at_once() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let uri = format!("hdfs://{}", port.expect("a free port"));
    let there = open(&uri, options()).expect("opening contacts nobody");
    let error = fails_within(Duration::ZERO, "length", there.length("/x")).await;
    assert_eq!((error.kind(), error.reason()), (Kind::Transient, "connection"), "{error}");
    let error = fails_within(Duration::ZERO, "create", begin(&*there, "/x")).await;
    assert_eq!((error.kind(), error.reason()), (Kind::Transient, "connection"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namenode_that_never_answers_does_not_hide_the_other_one() {
    let Some(hdfs) = cluster(&HdfsOptions::default()) else { return };
    let silent = TcpListener::bind("127.0.0.1:0").expect("bind");
    let silent_address = silent.local_addr().expect("it is bound").to_string();
    let conf = tempfile::tempdir().expect("a temporary directory");
    let alive = hdfs.uri().trim_start_matches("hdfs://").to_owned();
    let properties = [
        ("dfs.ha.namenodes.ns", "gone,alive"),
        ("dfs.namenode.rpc-address.ns.gone", &silent_address),
        ("dfs.namenode.rpc-address.ns.alive", &alive),
    ];
    let properties = properties.map(|(name, value)| {
        format!("<property><name>{name}</name><value>{value}</value></property>")
    });
    let xml = format!("<configuration>{}</configuration>", properties.concat());
    std::fs::write(conf.path().join("hdfs-site.xml"), xml).expect("write");
    let options = Options { hadoop_conf_dir: Some(conf.path().to_owned()), ..options() };
    let there = open("hdfs://ns", options).expect("a valid URI");
    let error = fails_within(RPC_TIMEOUT, "the first call", there.length("/x")).await;
    assert!(error.outcome_unknown(), "{error}");
    assert_eq!(there.length("/x").await.expect("the other one is asked first now"), None);
    put(&*there, "/d/x", b"x").await.expect("and stays the first");
}
