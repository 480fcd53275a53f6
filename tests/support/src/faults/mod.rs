//! The fault matrix: HDFS misbehaves while the pixel is under load, and every row ends with the
//! same checks.
//!
//! ```no_run
//! use std::time::Duration;
//! use sewer_test_support::faults::{Matrix, RigOptions, Row};
//! use sewer_test_support::hdfs::{Hdfs, HdfsOptions};
//!
//! let mut matrix = Matrix::new("/path/of/target/debug/sewer-shipper");
//! let hdfs = Hdfs::start(&HdfsOptions::default());
//! let row = Row::new("NameNode killed and restarted", "whenever").in_slice().tells("connection");
//! matrix.row(&hdfs, &row, &RigOptions::default(), |rig| {
//!     rig.hdfs().namenode().kill();
//!     std::thread::sleep(Duration::from_secs(2));
//!     rig.hdfs().namenode().restart();
//! });
//! matrix.finish();
//! ```
//!
//! A row gets a pixel under load, a WAL, a shipper and a directory of HDFS of its own; the cluster
//! may serve many rows. The closure does the fault and undoes it; it is called as often as the row
//! says, each time followed by a recovery that is measured. What is held at the end:
//!
//! - every acknowledged event is there exactly once, by Hadoop's own reader;
//! - no temporary file, and no file that is open for write;
//! - the shipper has no more sockets, files, threads and not much more memory than before;
//! - lag was back to little within the row's time after each fault ended;
//! - the shipper never ended (but where the row kills it), never panicked, and its status port and
//!   the pixel answered all the time;
//! - its log names a reason, and is no flood.
//!
//! By default only rows of the slice run, once each; `SEWERTEST_FAULTS=all` runs all of them, and
//! `SEWERTEST_FAULTS_TIMES` says how often. `SEWERTEST_FAULTS_ROW` picks the rows whose "fault,
//! step" contains it, `SEWERTEST_FAULTS_KEEP=1` keeps the daemons' logs. Every row appends its
//! result as a line of Markdown to `target/faults.md`.

mod figures;
mod log;
mod matrix;
mod replica;
mod rig;
mod step;
mod watcher;

pub use figures::Figures;
pub use matrix::{Matrix, Row, freeze};
pub use replica::wait_for_replica;
pub use rig::{Rig, RigOptions};
pub use step::{Held, Step};
