//! What an HDFS forbids, and what others do in our directories: permissions, quotas, directories
//! that are gone or are files, and final names that are taken. The rows and their checks:
//! `sewer_test_support::faults`; beside them, the shipper must say what is wrong where an operator
//! looks, while it is wrong. What a person has to end strikes once: it is the same each time, and
//! long.

use std::time::Duration;

use serde_json::Value;
use sewer_test_support::faults::{Held, Matrix, Rig, Row, Step};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::http;
use sewer_test_support::process::eventually;
use sewer_test_support::proxy::Proxy;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Who ships; the tests themselves are the superuser.
const USER: &str = "sewer";

/// How long an error may take to show: several retries.
const SHOW_WAIT: Duration = Duration::from_secs(40);

/// How long it stands then, until the operator has done something.
const WHILE: Duration = Duration::from_secs(3);

/// Somebody else's file.
const THEIRS: &[u8] = b"not a file of the shipper\n";

/// An HDFS with permissions.
struct Guarded {
    hdfs: Hdfs,
    proxy: Proxy,
}

impl Guarded {
    fn start() -> Self {
        let config = vec![("dfs.permissions.enabled".to_owned(), "true".to_owned())];
        let hdfs = Hdfs::start(&HdfsOptions { config, ..HdfsOptions::default() });
        hdfs.fs(&["-chmod", "777", "/"]);
        let proxy = Proxy::start(hdfs.namenode().address());
        Self { hdfs, proxy }
    }

    fn row(
        &self,
        matrix: &mut Matrix,
        row: &Row,
        step: Step,
        mut strike: impl FnMut(&Hdfs, &mut Rig<'_>, Held),
    ) {
        let mut options = step.options(&self.proxy);
        options.shipper.push(format!("hdfs.user={USER}"));
        if step == Step::Planning {
            // What is done to the directory then is done to nothing that is under way.
            options.shipper.push("shipper.parallel=1".into());
        }
        // A call is held for as long as some JVMs take that change something.
        options.shipper.extend(["hdfs.rpc_timeout=1m".into(), "hdfs.data_timeout=1m".into()]);
        matrix.row(&self.hdfs, row, &options, |rig| {
            let held = step.reach(&self.proxy);
            strike(&self.hdfs, rig, held);
        });
    }
}

/// Waits until the status port tells the reason of a failure that a person has to end, and lets it
/// stand for a while.
fn shows(rig: &mut Rig<'_>, reason: &str) {
    let address = rig.shipper().status_address();
    let retries = format!("sewer_shipper_retries_total{{reason=\"{reason}\"}}");
    let is_told = || {
        let stats = http::get(&address, "/stats").expect("the status port answers").body;
        let stats: Value = serde_json::from_str(&stats).expect("/stats is JSON");
        let failing = stats["failing"].as_array().expect("a list");
        failing.iter().any(|failing| failing["reason"] == reason && failing["needs_action"] == true)
            && stats["last_error_reason"] == reason
            && stats["last_error"].as_str().is_some_and(|error| !error.is_empty())
            && rig.metrics().get(&retries).is_some_and(|retries| *retries > 0.0)
    };
    assert!(eventually(SHOW_WAIT, is_told), "{reason}: {:#?}", rig.metrics());
    std::thread::sleep(WHILE);
}

fn permissions(matrix: &mut Matrix, cluster: &Guarded) {
    for step in [Step::Planning, Step::BeforeRename] {
        let row =
            Row::new("permission denied, then granted", step.name()).times(1).tells("permission");
        cluster.row(matrix, &row, step, |hdfs, rig, held| {
            let root = rig.root().to_owned();
            hdfs.fs(&["-chmod", "-R", "a-w", &root]);
            drop(held);
            shows(rig, "permission");
            hdfs.fs(&["-chmod", "-R", "u+w", &root]);
        });
    }
}

fn quotas(matrix: &mut Matrix, cluster: &Guarded) {
    let row =
        Row::new("namespace quota hit, then lifted", Step::Planning.name()).times(1).tells("quota");
    cluster.row(matrix, &row, Step::Planning, |hdfs, rig, held| {
        let root = rig.root().to_owned();
        hdfs.dfsadmin(&["-setQuota", "1", &root]);
        drop(held);
        shows(rig, "quota");
        hdfs.dfsadmin(&["-clrQuota", &root]);
    });
    for step in [Step::Planning, Step::MidWrite] {
        let row = Row::new("space quota hit, then lifted", step.name()).times(1).tells("quota");
        let row = if step == Step::MidWrite { row.in_slice() } else { row };
        cluster.row(matrix, &row, step, |hdfs, rig, held| {
            let root = rig.root().to_owned();
            hdfs.dfsadmin(&["-setSpaceQuota", "1", &root]);
            drop(held);
            shows(rig, "quota");
            hdfs.dfsadmin(&["-clrSpaceQuota", &root]);
        });
    }
}

fn directories(matrix: &mut Matrix, cluster: &Guarded) {
    let row = Row::new("destination directory missing", Step::Planning.name());
    cluster.row(matrix, &row, Step::Planning, |hdfs, rig, held| {
        move_aside(hdfs, rig);
        drop(held);
        let before = rig.delivered();
        assert!(eventually(SHOW_WAIT, || rig.delivered() > before), "the directory is made");
    });
    let row = Row::new("destination path is a file, then moved away", Step::Planning.name())
        .times(1)
        .tells("configuration");
    cluster.row(matrix, &row, Step::Planning, |hdfs, rig, held| {
        move_aside(hdfs, rig);
        let path = format!("{}/sewer", rig.root());
        hdfs.fs(&["-touchz", &path]);
        drop(held);
        shows(rig, "configuration");
        hdfs.fs(&["-rm", &path]);
    });
    let step = Step::BeforeRename;
    let row = Row::new("temporary file deleted by somebody", step.name()).tells("not_found");
    cluster.row(matrix, &row, step, |hdfs, _, held| {
        hdfs.fs(&["-rm", held.path()]);
        drop(held);
    });
}

/// Gives the directory of all partitions another name below the root, so that what it holds is
/// still counted.
fn move_aside(hdfs: &Hdfs, rig: &Rig<'_>) {
    let root = rig.root();
    let other = format!("{root}/sewer-{}", hdfs.list_files(root).len());
    hdfs.fs(&["-mv", &format!("{root}/sewer"), &other]);
}

fn conflicts(matrix: &mut Matrix, cluster: &Guarded) {
    let step = Step::BeforeRename;
    let row = Row::new("final name taken by ours, complete", step.name());
    cluster.row(matrix, &row, step, |hdfs, _, held| {
        hdfs.fs(&["-cp", held.path(), held.target()]);
        drop(held);
    });
    let row = Row::new("final name taken by ours, shorter, then moved away", step.name())
        .in_slice()
        .times(1)
        .tells("conflict");
    cluster.row(matrix, &row, step, |hdfs, rig, held| {
        hdfs.fs(&["-cp", held.path(), held.target()]);
        hdfs.fs(&["-truncate", "-w", "100", held.target()]);
        stays_and_is_moved_away(hdfs, rig, held, 100);
    });
    let theirs = tempfile::NamedTempFile::new().expect("create a file");
    std::fs::write(theirs.path(), THEIRS).expect("write a file");
    let row = Row::new("final name taken by somebody else's, then moved away", step.name())
        .times(1)
        .tells("conflict");
    cluster.row(matrix, &row, step, |hdfs, rig, held| {
        hdfs.fs(&["-put", &theirs.path().display().to_string(), held.target()]);
        stays_and_is_moved_away(hdfs, rig, held, THEIRS.len() as u64);
    });
}

/// A file at a final name is reported, stays as it is, and holds nothing else up.
fn stays_and_is_moved_away(hdfs: &Hdfs, rig: &mut Rig<'_>, held: Held, length: u64) {
    let target = held.target().to_owned();
    drop(held);
    shows(rig, "conflict");
    let before = rig.delivered();
    assert!(eventually(SHOW_WAIT, || rig.delivered() > before), "other shipments go on");
    let listed = hdfs.list_files(&target);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((&*listed[0].path, listed[0].length), (&*target, length), "nothing overwrites it");
    hdfs.fs(&["-mv", &target, &format!("/aside-{}", target.replace('/', "-"))]);
}

#[test]
fn events_arrive_exactly_once_whatever_hdfs_forbids() {
    if !hdfs::available_or_skip("faults::policy") {
        return;
    }
    let mut matrix = Matrix::new(BINARY);
    let cluster = Guarded::start();
    permissions(&mut matrix, &cluster);
    quotas(&mut matrix, &cluster);
    directories(&mut matrix, &cluster);
    conflicts(&mut matrix, &cluster);
    matrix.finish();
}
