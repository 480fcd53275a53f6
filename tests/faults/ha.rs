//! A pair of NameNodes that changes over: while nothing is under way, at each step of a shipment,
//! because the active one died, froze, or took itself for active for too long. The rows and their
//! checks: `sewer_test_support::faults`.

use std::cell::Cell;
use std::time::{Duration, Instant};

use sewer_test_support::faults::{Held, Matrix, Rig, RigOptions, Row, Step};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};
use sewer_test_support::proxy::{Mode, Proxy};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-shipper");

/// How long both are away: several retries.
const WHILE: Duration = Duration::from_secs(6);

/// Shorter timeouts than those of other rows, so that what is frozen need not be so for long.
const TIMEOUTS: [&str; 2] = ["hdfs.rpc_timeout=2s", "hdfs.data_timeout=4s"];

/// How long the active one is frozen: longer than every timeout.
const FROZEN: Duration = Duration::from_secs(5);

/// How long the one that is no longer active may take itself for it.
const OUTDATED: Duration = Duration::from_secs(3);

/// A pair behind proxies.
struct Pair {
    hdfs: Hdfs,
    proxies: [Proxy; 2],
    active: Cell<usize>,
}

impl Pair {
    fn start() -> Self {
        let hdfs = Hdfs::start(&HdfsOptions { ha: true, ..HdfsOptions::default() });
        let proxies = [0, 1].map(|i| Proxy::start(hdfs.namenode_of(i).address()));
        Self { hdfs, proxies, active: Cell::new(0) }
    }

    fn options(&self, step: Step) -> RigOptions {
        let [first, second] = self.proxies.each_ref().map(Proxy::address);
        let conf = self.hdfs.client_conf(
            "conf-proxied",
            &[
                ("dfs.namenode.rpc-address.pair.nn1", &first),
                ("dfs.namenode.rpc-address.pair.nn2", &second),
            ],
        );
        let mut options = step.options(&self.proxies[0]);
        options.authority = None;
        options.shipper.extend(TIMEOUTS.map(str::to_owned));
        options.shipper.push(format!("destination.hadoop_conf_dir={}", conf.display()));
        options
    }

    /// Runs a row, with both there at the beginning of each of its faults.
    fn row(
        &self,
        matrix: &mut Matrix,
        row: &Row,
        step: Step,
        mut strike: impl FnMut(&mut Rig<'_>, &Self),
    ) {
        if matrix.wants(&[row]) {
            self.mend();
            matrix.row(&self.hdfs, row, &self.options(step), |rig| {
                self.mend();
                strike(rig, self);
            });
        }
    }

    /// Both are there, and one of them is active.
    fn mend(&self) {
        for (i, proxy) in self.proxies.iter().enumerate() {
            if !self.hdfs.namenode_of(i).is_up() {
                self.hdfs.namenode_of(i).kill();
                self.hdfs.namenode_of(i).start();
            }
            proxy.set(Mode::Pass);
        }
        if self.hdfs.active().is_none() {
            self.make_active(self.active.get());
        }
        self.hdfs.wait_until_ready();
        self.active.set(self.hdfs.active().expect("one is active between faults"));
    }

    /// Holds a shipment at a step; which one of the two is active.
    fn reach(&self, step: Step) -> (Held, usize) {
        let active = self.active.get();
        (step.reach(&self.proxies[active]), active)
    }

    /// As without a proxy: nobody listens where a NameNode died.
    fn kill(&self, i: usize) {
        self.hdfs.namenode_of(i).kill();
        self.proxies[i].set(Mode::Refuse);
    }

    fn make_active(&self, i: usize) {
        self.hdfs.make_active(i);
        self.active.set(i);
    }

    fn change_over(&self) {
        let active = self.active.get();
        self.hdfs.make_standby(active);
        self.make_active(1 - active);
    }
}

/// The active one becomes a standby and the other one active, by an operator's hand.
fn change_over(matrix: &mut Matrix, pair: &Pair) {
    let fault = "HA: active and standby change places";
    for step in Step::ALL {
        // Each row leaves the other one active to the next.
        let row = Row::new(fault, step.name()).times(1);
        pair.row(matrix, &row, step, |_, pair| {
            let (held, _) = pair.reach(step);
            pair.change_over();
            drop(held);
        });
    }
    let row = Row::new(fault, "nothing under way");
    pair.row(matrix, &row, Step::Planning, |rig, pair| {
        rig.set_idle(true);
        pair.change_over();
        rig.set_idle(false);
    });
}

/// The active one dies, and the other one is made active.
fn die(matrix: &mut Matrix, pair: &Pair) {
    let fault = "HA: active killed, standby made active";
    for step in Step::ALL {
        let row = Row::new(fault, step.name());
        let row = if step == Step::MidWrite { row.in_slice() } else { row };
        pair.row(matrix, &row, step, |_, pair| {
            let (held, active) = pair.reach(step);
            pair.kill(active);
            drop(held);
            pair.make_active(1 - active);
        });
    }
    let row = Row::new(fault, "nothing under way");
    pair.row(matrix, &row, Step::Planning, |rig, pair| {
        rig.set_idle(true);
        let active = pair.active.get();
        pair.kill(active);
        pair.make_active(1 - active);
        rig.set_idle(false);
    });
    let row = Row::new("HA: both killed, then one back", "whenever").tells("connection");
    pair.row(matrix, &row, Step::Planning, |_, pair| {
        let active = pair.active.get();
        pair.kill(1 - active);
        pair.kill(active);
        std::thread::sleep(WHILE);
        pair.hdfs.namenode_of(1 - active).start();
        pair.proxies[1 - active].set(Mode::Pass);
        pair.make_active(1 - active);
    });
}

/// The active one freezes, the other one is made active, and the first one goes on as if nothing
/// had been, with the calls that had reached it.
fn freeze(matrix: &mut Matrix, pair: &Pair) {
    for step in Step::ALL {
        let row = Row::new("HA: active frozen, standby made active, the other thawed", step.name());
        let row = match step {
            // That the other one has the final name is all there is to say, and no failure.
            Step::RenameUnanswered => row.in_slice(),
            _ => row.tells("timeout"),
        };
        pair.row(matrix, &row, step, |_, pair| {
            let (held, active) = pair.reach(step);
            pair.hdfs.namenode_of(active).freeze();
            drop(held);
            let begun = Instant::now();
            pair.make_active(1 - active);
            std::thread::sleep(FROZEN.saturating_sub(begun.elapsed()));
            pair.hdfs.namenode_of(active).thaw();
            std::thread::sleep(OUTDATED);
            pair.kill(active);
        });
    }
}

#[test]
fn events_arrive_exactly_once_whichever_namenode_is_active() {
    if !hdfs::available_or_skip("faults::ha") {
        return;
    }
    let mut matrix = Matrix::new(BINARY);
    let pair = Pair::start();
    change_over(&mut matrix, &pair);
    die(&mut matrix, &pair);
    freeze(&mut matrix, &pair);
    matrix.finish();
}
