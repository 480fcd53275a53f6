//! A network that resets connections, loses everything for a while, or is slow now and then. The
//! rows and their checks: `sewer_test_support::faults`.

use std::time::Duration;

use sewer_test_support::faults::{Matrix, Rig, Row, Step, freeze};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::process::eventually;
use sewer_test_support::proxy::{Mode, Proxy, Strike};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// Where the shipper finds a DataNode that itself listens on 127.0.0.1.
const DATANODE_HOST: &str = "127.0.0.2";

/// How far into the files a stream to a DataNode is struck: behind the first of a file's blocks,
/// in front of the last, or somewhere in between.
const INTO_STREAM_BYTES: u64 = 1500 << 10;

/// Under load, files follow each other all the time.
const REACH_WAIT: Duration = Duration::from_secs(40);

/// How long a port is closed: several retries.
const WHILE: Duration = Duration::from_secs(6);

/// Longer than the shipper waits for a NameNode (3 s in a rig), so that a slow call happens after
/// it was given up.
const SLOW: Duration = Duration::from_secs(5);

/// How many of them it takes depends on how long other faults last.
const SLOW_LONG: Duration = Duration::from_mins(1);

/// Some dozens of calls are made in a second, and one in a hundred is slow.
const SLOW_WAIT: Duration = Duration::from_mins(4);

/// A cluster whose every connection from the shipper goes through a proxy.
struct Net {
    hdfs: Hdfs,
    namenode: Proxy,
    datanode: Proxy,
}

impl Net {
    fn start() -> Self {
        let config = vec![("dfs.datanode.hostname".to_owned(), DATANODE_HOST.to_owned())];
        let hdfs = Hdfs::start(&HdfsOptions { config, ..HdfsOptions::default() });
        let namenode = Proxy::start(hdfs.namenode().address());
        let address = hdfs.datanode(0).address().to_owned();
        let (_, port) = address.rsplit_once(':').expect("an address has a port");
        let datanode = Proxy::at(&format!("{DATANODE_HOST}:{port}"), &address);
        Self { hdfs, namenode, datanode }
    }

    fn row(
        &self,
        matrix: &mut Matrix,
        row: &Row,
        step: Step,
        mut strike: impl FnMut(&Self, &mut Rig<'_>),
    ) {
        let by_name = [("dfs.client.use.datanode.hostname", "true")];
        let conf = self.hdfs.client_conf("conf-by-name", &by_name);
        let mut options = step.options(&self.namenode);
        options.shipper.push(format!("destination.hadoop_conf_dir={}", conf.display()));
        matrix.row(&self.hdfs, row, &options, |rig| strike(self, rig));
        // What a failed row may have left.
        self.set(Mode::Pass);
    }

    fn set(&self, mode: Mode) {
        self.namenode.set(mode);
        self.datanode.set(mode);
    }
}

fn resets(matrix: &mut Matrix, net: &Net) {
    for step in Step::ALL {
        let row = Row::new("connections to the NameNode reset", step.name());
        let row = match step {
            // Looking once more is all it takes, and nobody need hear of it.
            Step::RenameUnanswered | Step::AfterRename => row,
            Step::BeforeClose => row.tells("connection").in_slice(),
            _ => row.tells("connection"),
        };
        net.row(matrix, &row, step, |net, _| {
            let held = step.reach(&net.namenode);
            net.namenode.reset_connections();
            drop(held);
        });
    }
    let row = Row::new("connections to the DataNode reset", "mid-write")
        .in_slice()
        .tells("datanode")
        .tells("connection");
    net.row(matrix, &row, Step::MidWrite, |net, _| {
        net.datanode.after_bytes(INTO_STREAM_BYTES, Strike::Reset).wait(REACH_WAIT);
    });
    let row = Row::new("port of the NameNode closed", "whenever").tells("connection");
    net.row(matrix, &row, Step::Planning, |net, _| {
        net.namenode.set(Mode::Refuse);
        net.namenode.reset_connections();
        std::thread::sleep(WHILE);
        net.namenode.set(Mode::Pass);
    });
}

fn black_holes(matrix: &mut Matrix, net: &Net) {
    let seconds = freeze().as_secs();
    for step in Step::ALL {
        let fault = format!("all packets of the NameNode lost for {seconds} s");
        let row = Row::new(&fault, step.name()).freezes().tells("timeout");
        let row = if step == Step::BeforeRename { row.in_slice() } else { row };
        net.row(matrix, &row, step, |net, _| {
            let held = step.reach(&net.namenode);
            net.namenode.set(Mode::BlackHole);
            drop(held);
            std::thread::sleep(freeze());
            net.namenode.set(Mode::Pass);
        });
    }
    let fault = format!("all packets of the DataNode lost for {seconds} s");
    let row = Row::new(&fault, "mid-write").freezes().tells("timeout");
    net.row(matrix, &row, Step::MidWrite, |net, _| {
        let strike = Strike::Set(Mode::BlackHole);
        net.datanode.after_bytes(INTO_STREAM_BYTES, strike).wait(REACH_WAIT);
        std::thread::sleep(freeze());
        net.datanode.set(Mode::Pass);
    });
}

fn slow_calls(matrix: &mut Matrix, net: &Net) {
    // The NameNode gets it after the same file has been made anew and has its final name.
    let row = Row::new("creation of a file arrives late", Step::Planning.name());
    net.row(matrix, &row.in_slice().tells("timeout"), Step::Planning, |net, _| {
        let held = Step::Planning.reach(&net.namenode);
        std::thread::sleep(SLOW);
        drop(held);
    });
    // Which calls are slow is left to chance, and so is whether there is anything to warn of: those
    // of a write or a close have more time than that.
    let row = Row::new("1 % of calls slow", "all").freezes();
    net.row(matrix, &row, Step::Planning, |net, _| {
        let enough = net.namenode.slowed() + if freeze() < SLOW_LONG { 3 } else { 20 };
        net.set(Mode::Slow { delay: SLOW, per_mille: 10 });
        let slowed = eventually(SLOW_WAIT, || net.namenode.slowed() >= enough);
        net.set(Mode::Pass);
        assert!(slowed, "so many calls are slow: {enough}, not {}", net.namenode.slowed());
    });
}

#[test]
fn events_arrive_exactly_once_whatever_the_network_does() {
    if !hdfs::available_or_skip("faults::network") {
        return;
    }
    let mut matrix = Matrix::new(BINARY);
    let net = Net::start();
    resets(&mut matrix, &net);
    black_holes(&mut matrix, &net);
    slow_calls(&mut matrix, &net);
    assert!(net.datanode.bytes() > 0, "the data went through the proxy");
    matrix.finish();
}
