//! The steps of a shipment as the NameNode sees them, so that a fault strikes at one of them and
//! not somewhere near.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use super::rig::RigOptions;
use crate::proxy::{Calls, Proxy, When};

/// Under load, shipments follow each other all the time, on a crowded machine more slowly.
const REACH_WAIT: Duration = Duration::from_secs(90);

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The plan is made, and the NameNode has not heard of the file.
    Planning,
    /// A block of the file is written, and the next one is asked for.
    MidWrite,
    /// All data is with the DataNodes, and the file is not closed.
    BeforeClose,
    /// The file is closed and looked at, and has its temporary name.
    BeforeRename,
    /// The file has its final name, the answer was lost, and the segments are still there.
    RenameUnanswered,
    /// The file has its final name, and the segments are still there.
    AfterRename,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Planning,
        Self::MidWrite,
        Self::BeforeClose,
        Self::BeforeRename,
        Self::RenameUnanswered,
        Self::AfterRename,
    ];

    /// What the table calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::MidWrite => "mid-write",
            Self::BeforeClose => "before close",
            Self::BeforeRename => "between close and rename",
            Self::RenameUnanswered => "rename done, its answer lost",
            Self::AfterRename => "after rename, before delete",
        }
    }

    /// A rig whose shipments get to this step.
    pub fn options(self, proxy: &Proxy) -> RigOptions {
        let options = RigOptions { authority: Some(proxy.address()), ..RigOptions::default() };
        if self != Self::MidWrite {
            return options;
        }
        // Files of about a megabyte, in blocks of a quarter of that, so that a crowded machine
        // fills more than one, too.
        let shipper = ["hdfs.block_size=256KiB", "roll.max_age=1s"].map(str::to_owned).to_vec();
        RigOptions { shipper, padding_bytes: 4 << 10, ..options }
    }

    /// Waits until a shipment is at this step, and holds it there until the guard is dropped.
    ///
    /// # Panics
    /// If none gets there.
    pub fn reach(self, proxy: &Proxy) -> Held {
        match self {
            Self::Planning => hold(proxy, Calls::of("create"), When::BeforeForward),
            // Only the request for a further block names the one before, which names the pool.
            Self::MidWrite => {
                hold(proxy, Calls::of("addBlock").containing("BP-"), When::BeforeForward)
            }
            Self::BeforeClose => hold(proxy, Calls::of("complete"), When::BeforeForward),
            Self::BeforeRename => hold(proxy, Calls::of("rename2"), When::BeforeForward),
            Self::RenameUnanswered => hold(proxy, Calls::of("rename2"), When::SwallowAnswer),
            Self::AfterRename => {
                let renamed = hold(proxy, Calls::of("rename2"), When::AfterAnswer);
                let look = Calls::of("getFileInfo").containing(renamed.target());
                let next = arm(proxy, look, When::BeforeForward);
                drop(renamed);
                next.reached()
            }
        }
    }
}

/// A call, and the shipment behind it, held until this is dropped.
#[derive(Debug)]
pub struct Held {
    paths: [String; 2],
    _go: Sender<()>,
}

impl Held {
    /// The path that the call is about: of a rename, the old name.
    pub fn path(&self) -> &str {
        &self.paths[0]
    }

    /// Of a rename, the new name.
    pub fn target(&self) -> &str {
        &self.paths[1]
    }
}

/// A call that is going to be held.
struct Armed {
    what: String,
    reached: Receiver<[String; 2]>,
    go: Sender<()>,
}

fn hold(proxy: &Proxy, calls: Calls, when: When) -> Held {
    arm(proxy, calls, when).reached()
}

fn arm(proxy: &Proxy, calls: Calls, when: When) -> Armed {
    let what = format!("{when:?} of {calls:?}");
    let (tell, reached) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    proxy.on(calls, when, move |call| {
        // Nobody listens any more if the test has failed.
        let _ = tell.send([1, 2].map(|field| call.text(field).unwrap_or_default().to_owned()));
        // Nothing is ever sent: it ends when the guard is dropped.
        let _ = gone.recv();
    });
    Armed { what, reached, go }
}

impl Armed {
    fn reached(self) -> Held {
        let paths = self.reached.recv_timeout(REACH_WAIT);
        let paths = paths.unwrap_or_else(|why| panic!("no {} in {REACH_WAIT:?}: {why}", self.what));
        Held { paths, _go: self.go }
    }
}
