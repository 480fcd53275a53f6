//! DataNodes that die, freeze and come back while files are written to them: three of them, and
//! three replicas of every file. The rows and their checks: `sewer_test_support::faults`.

use std::time::Duration;

use sewer_test_support::faults::{Matrix, RigOptions, Row};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// How long a fault lasts that has no length of its own: many shipments, and several retries.
const WHILE: Duration = Duration::from_secs(6);

#[test]
fn events_arrive_exactly_once_whatever_datanodes_do() {
    if !hdfs::available_or_skip("faults_datanodes") {
        return;
    }
    let mut matrix = Matrix::new(BINARY);
    let hdfs = Hdfs::start(&HdfsOptions { datanodes: 3, replication: 3, ..Default::default() });
    let options = RigOptions { shipper: vec!["hdfs.replication=3".into()], ..Default::default() };

    let row = Row::new("all DataNodes killed, then back", "whenever")
        .in_slice()
        .tells("connection")
        .ends_with_replication(3);
    matrix.row(&hdfs, &row, &options, |rig| {
        (0..3).for_each(|i| rig.hdfs().datanode(i).kill());
        std::thread::sleep(WHILE);
        (0..3).for_each(|i| rig.hdfs().datanode(i).start());
        rig.hdfs().wait_until_ready();
    });
    matrix.finish();
}
