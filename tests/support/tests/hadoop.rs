//! The test support itself: a cluster that can be trusted, and a Java class that reads and writes
//! exactly the bytes that Sewer ships.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::{hadoop, rows};

/// The event (123456789, "1.2.3.4", "h", "/p", absent, absent, "ua", absent).
const GOLDEN: &str = "8c075bcd1507312e322e332e340168022f70000002756100206662633065303735303630\
                      636366346139323034336436393434653538643834";

const DEAD_AFTER: Duration = Duration::from_secs(11);

fn write_golden(conf: &Path, uri: &str) {
    let jars = hadoop::available().expect("the test was not skipped");
    let written = jars.run(Some(conf), "WriteSequenceFile", &[uri, GOLDEN]).unwrap();
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines, [GOLDEN, GOLDEN], "read and written again; made from the fields");
}

#[test]
fn hadoop_reads_and_writes_exactly_the_golden_event() {
    if !hdfs::available_or_skip("hadoop_support") {
        return;
    }
    let start = Instant::now();
    let hdfs = Hdfs::start(&HdfsOptions::default());
    println!("NameNode and one DataNode ready after {:?}", start.elapsed());
    let uri = format!("{}/in/golden.seq", hdfs.uri());
    write_golden(&hdfs.conf_dir(), &uri);
    write_golden(&hdfs.conf_dir(), "/in/.hidden.tmp");
    write_golden(&hdfs.conf_dir(), "/in/_temporary/golden.seq");

    let files = hdfs.read_files("/in");
    assert_eq!(files.len(), 1, "hidden files are no data: {files:?}");
    let file = &files[0];
    assert_eq!(file.file, uri);
    assert_eq!(file.metadata["written.by"], "Hadoop");
    assert_eq!(file.compression.as_deref(), Some("org.apache.hadoop.io.compress.DefaultCodec"));
    assert!(file.block_compressed);
    assert_eq!(file.rows.len(), 1, "{:?}", file.rows);
    let row = &file.rows[0];
    assert_eq!(row.key_class, "net.pixelcop.sewer.source.http.AccessLogEvent");
    assert_eq!(row.value_class, "org.apache.hadoop.io.VLongWritable");
    assert_eq!(row.value, json!(1));
    let key = json!({
        "timestamp": 123_456_789,
        "ip": "1.2.3.4",
        "host": "h",
        "request_path": "/p",
        "query_string": "",
        "referer": "",
        "user_agent": "ua",
        "cookies": "",
        "sort_hash": "fbc0e075060ccf4a92043d6944e58d84",
    });
    assert_eq!(row.key, key);
    assert_eq!(hdfs.read_rows(&uri), file.rows);

    let text = hdfs.fs(&["-text", "/in/golden.seq"]);
    let columns = "123456789\t1.2.3.4\th\t/p\t\t\tua\t\tfbc0e075060ccf4a92043d6944e58d84\t1\n";
    assert_eq!(text, columns, "hadoop fs -text");

    let listed = hdfs.list_files("/in");
    let paths: Vec<&str> = listed.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/in/.hidden.tmp", "/in/_temporary/golden.seq", "/in/golden.seq"]);
    assert!(listed.iter().all(|file| !file.open_for_write && file.length > 0), "{listed:?}");
    assert_eq!(hdfs.list_files("/nowhere"), []);
    assert_eq!(hdfs.open_files("/"), []);
    hdfs.leave_open("/in/open");
    let open = hdfs.open_files("/");
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(open[0].path, "/in/open");
}

#[test]
fn a_local_file_is_read_without_a_cluster() {
    if !hdfs::available_or_skip("hadoop_support") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let conf = directory.path().join("conf");
    let uri = format!("file://{}/out/golden.seq", directory.path().display());
    write_golden(&conf, &uri);
    let files = rows::read_files(None, &[directory.path()]).unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(files[0].rows[0].key["ip"], "1.2.3.4");
    std::fs::write(directory.path().join("out/broken.seq"), "SEQ\u{6}nonsense").unwrap();
    let error = rows::read_files(None, &[directory.path()]).unwrap_err();
    assert!(error.contains("ReadSequenceFiles"), "a broken file is an error: {error}");
}

#[test]
fn daemons_can_be_killed_frozen_and_restarted_and_keep_their_data() {
    if !hdfs::available_or_skip("hadoop_support") {
        return;
    }
    let options = HdfsOptions {
        datanodes: 2,
        replication: 2,
        dead_after: Some(DEAD_AFTER),
        ..HdfsOptions::default()
    };
    let hdfs = Hdfs::start(&options);
    let uri = hdfs.uri();
    write_golden(&hdfs.conf_dir(), "/golden.seq");

    hdfs.datanode(0).kill();
    assert!(!hdfs.datanode(0).is_up());
    assert_eq!(hdfs.read_rows("/golden.seq").len(), 1, "the other DataNode has it");
    hdfs.datanode(0).restart();
    hdfs.datanode(1).kill();
    assert_eq!(hdfs.read_rows("/golden.seq").len(), 1, "the restarted DataNode has it");
    hdfs.datanode(1).restart();

    hdfs.namenode().restart();
    assert_eq!(hdfs.uri(), uri);
    assert_eq!(hdfs.read_rows("/golden.seq").len(), 1, "after a restart of the NameNode");

    hdfs.namenode().freeze();
    assert!(!hdfs.namenode().is_up());
    let address = uri.trim_start_matches("hdfs://");
    TcpStream::connect(address).expect("a frozen NameNode still accepts connections");
    hdfs.namenode().thaw();
    hdfs.wait_until_ready();

    hdfs.enter_safe_mode();
    let jars = hadoop::available().unwrap();
    let refused = jars.run(Some(&hdfs.conf_dir()), "WriteSequenceFile", &["/new.seq", GOLDEN]);
    assert!(refused.unwrap_err().contains("SafeModeException"));
    hdfs.leave_safe_mode();
    write_golden(&hdfs.conf_dir(), "/new.seq");
    assert!(hdfs.fsck(&["/"]).contains("is HEALTHY"));

    hdfs.datanode(1).freeze();
    let noticed = wait(4 * DEAD_AFTER, || hdfs.live_datanodes() == Some(1));
    assert!(noticed, "a silent DataNode is dead to the NameNode after {DEAD_AFTER:?}");
    hdfs.datanode(1).thaw();
    let back = wait(4 * DEAD_AFTER, || hdfs.live_datanodes() == Some(2));
    assert!(back, "a DataNode that speaks again is alive again");

    let pids: Vec<u32> = [hdfs.namenode(), hdfs.datanode(0), hdfs.datanode(1)]
        .iter()
        .filter_map(hdfs::Node::pid)
        .collect();
    assert_eq!(pids.len(), 3);
    drop(hdfs);
    assert!(pids.iter().all(|pid| !is_running(*pid)), "{pids:?} end with the cluster's handle");
}

#[test]
fn a_pair_of_namenodes_fails_over_and_keeps_its_data() {
    if !hdfs::available_or_skip("hadoop_support") {
        return;
    }
    let hdfs = Hdfs::start(&HdfsOptions { ha: true, ..HdfsOptions::default() });
    assert_eq!(hdfs.active(), Some(0));
    write_golden(&hdfs.conf_dir(), "/golden.seq");

    hdfs.make_standby(0);
    assert_eq!(hdfs.active(), None);
    hdfs.make_active(1);
    assert_eq!(hdfs.active(), Some(1));
    assert_eq!(hdfs.read_rows("/golden.seq").len(), 1, "the other NameNode knows of it");

    hdfs.namenode_of(1).kill();
    hdfs.make_active(0);
    write_golden(&hdfs.conf_dir(), "/new.seq");
    hdfs.namenode_of(1).restart();
    assert_eq!(hdfs.active(), Some(0), "a NameNode that comes back is a standby");
    assert_eq!(hdfs.live_datanodes(), Some(1));

    hdfs.namenode_of(0).freeze();
    hdfs.make_active(1);
    hdfs.namenode_of(0).thaw();
    let first = format!("hdfs://{}", hdfs.namenode_of(0).address());
    let mkdir = ["-D", "ipc.client.connect.max.retries=0", "-fs", &first, "-mkdir", "/made"];
    let jars = hadoop::available().unwrap();
    jars.run(Some(&hdfs.conf_dir()), "org.apache.hadoop.fs.FsShell", &mkdir).unwrap_err();
    let ended = wait(Duration::from_secs(30), || !hdfs.namenode_of(0).is_up());
    assert!(ended, "who has missed that the other one is active ends at the first change");
    hdfs.namenode_of(0).restart();
    assert_eq!(hdfs.active(), Some(1));
    assert_eq!(hdfs.read_rows("/").len(), 2);
}

/// Set in the process that [`no_daemon_outlives_a_killed_test_process`] starts and kills.
const VICTIM: &str = "SEWERTEST_VICTIM";

#[test]
fn no_daemon_outlives_a_killed_test_process() {
    if std::env::var_os(VICTIM).is_some() {
        let hdfs = Hdfs::start(&HdfsOptions::default());
        hdfs.datanode(0).freeze();
        let pids = [hdfs.namenode().pid(), hdfs.datanode(0).pid()].map(Option::unwrap);
        let file = std::env::var_os(VICTIM).expect("looked at above");
        std::fs::write(file, format!("{} {}\n", pids[0], pids[1])).unwrap();
        std::thread::sleep(Duration::from_mins(1));
        return;
    }
    if !hdfs::available_or_skip("hadoop_support") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hadoop::no_daemon_outlives_a_killed_test_process"])
        .env(VICTIM, &file)
        // The victim cannot tidy up; its cluster's directory goes with this one.
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let written = || std::fs::read_to_string(&file).unwrap_or_default();
    let started = wait(Duration::from_secs(90), || written().ends_with('\n'));
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(started, "the victim starts a cluster");
    let pids: Vec<u32> = written().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    let gone = wait(Duration::from_secs(10), || pids.iter().all(|pid| !is_running(*pid)));
    assert!(gone, "NameNode and frozen DataNode {pids:?} end when the test process is killed");
}

fn wait(limit: Duration, done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// A zombie has ended; whoever inherited it reaps it when it likes.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
