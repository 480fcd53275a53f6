//! A NameNode that dies, freezes or goes into safe mode at each step of a shipment. The rows and
//! their checks: `sewer_test_support::faults`.

use std::net::TcpStream;
use std::time::Duration;

use sewer_test_support::faults::{Matrix, Rig, Row, Step, freeze};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::process::eventually;
use sewer_test_support::proxy::{Mode, Proxy};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// How long it is away or in safe mode, beside the time that a change takes: several retries.
const WHILE: Duration = Duration::from_secs(4);

/// How long a JVM may take to listen on a crowded machine.
const LISTENS_WAIT: Duration = Duration::from_mins(1);

fn kill_and_restart(rig: &mut Rig<'_>, proxy: &Proxy, step: Step) {
    let held = step.reach(proxy);
    rig.hdfs().namenode().kill();
    // As without a proxy: nobody listens.
    proxy.set(Mode::Refuse);
    drop(held);
    std::thread::sleep(WHILE);
    rig.hdfs().namenode().start();
    let address = rig.hdfs().namenode().address().to_owned();
    assert!(eventually(LISTENS_WAIT, || TcpStream::connect(&address).is_ok()), "it listens");
    proxy.set(Mode::Pass);
    rig.hdfs().wait_until_ready();
}

fn freeze_and_thaw(rig: &mut Rig<'_>, proxy: &Proxy, step: Step) {
    let held = step.reach(proxy);
    rig.hdfs().namenode().freeze();
    drop(held);
    std::thread::sleep(freeze());
    rig.hdfs().namenode().thaw();
}

fn enter_and_leave_safe_mode(rig: &mut Rig<'_>, proxy: &Proxy, step: Step) {
    let held = step.reach(proxy);
    rig.hdfs().enter_safe_mode();
    drop(held);
    std::thread::sleep(WHILE);
    rig.hdfs().leave_safe_mode();
}

#[test]
fn events_arrive_exactly_once_whatever_the_namenode_does() {
    if !hdfs::available_or_skip("faults::namenode") {
        return;
    }
    let mut matrix = Matrix::new(BINARY);
    let hdfs = Hdfs::start(&HdfsOptions::default());
    let proxy = Proxy::start(hdfs.namenode().address());

    for step in Step::ALL {
        let row = Row::new("NameNode killed and restarted", step.name()).tells("connection");
        let is_in_slice = matches!(step, Step::MidWrite | Step::AfterRename);
        let row = if is_in_slice { row.in_slice() } else { row };
        matrix.row(&hdfs, &row, &step.options(&proxy), |rig| kill_and_restart(rig, &proxy, step));
    }
    for step in Step::ALL {
        // A rename that waits in the socket of a frozen NameNode has timed out and then happens.
        let fault = format!("NameNode frozen for {} s", freeze().as_secs());
        let row = Row::new(&fault, step.name()).freezes().tells("timeout");
        let row = if step == Step::BeforeRename { row.in_slice() } else { row };
        matrix.row(&hdfs, &row, &step.options(&proxy), |rig| freeze_and_thaw(rig, &proxy, step));
    }
    for step in Step::ALL {
        let mut options = step.options(&proxy);
        // Long enough for a JVM that enters safe mode while a call is held.
        options.shipper.extend(["hdfs.rpc_timeout=1m".into(), "hdfs.data_timeout=1m".into()]);
        let row = Row::new("safe mode entered and left", step.name()).tells("safe_mode");
        let row = if step == Step::BeforeClose { row.in_slice() } else { row };
        matrix.row(&hdfs, &row, &options, |rig| enter_and_leave_safe_mode(rig, &proxy, step));
    }
    matrix.finish();
}
