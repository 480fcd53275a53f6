//! Which operations happen: the count, the power cut, the faults and the syncs that are dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::errno::Errno;

/// How many operations the trace keeps.
const TRACE_MAX: usize = 20_000;

/// What a process asks of the file system. All but [`Op::Open`] and [`Op::Read`] are counted: they
/// are the ones that a power cut can come before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Open a file that is there.
    Open,
    /// Read from a file.
    Read,
    /// Make a file.
    Create,
    /// Make a directory.
    Mkdir,
    /// Give a file a further name.
    Link,
    /// Rename.
    Rename,
    /// Remove a file's name.
    Unlink,
    /// Remove a directory.
    Rmdir,
    /// Set a file's size.
    Resize,
    /// Reserve space for a file.
    Allocate,
    /// Write into a file.
    Write,
    /// fsync or fdatasync of a file.
    Sync,
    /// fsync of a directory.
    SyncDir,
}

impl Op {
    fn is_counted(self) -> bool {
        !matches!(self, Self::Open | Self::Read)
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The call fails and does nothing.
    Fails(Errno),
    /// A sync fails, and what it should have written is taken for written from then on: the next
    /// sync succeeds without it.
    FailsAndForgets,
    /// A write takes only so many bytes.
    Short(usize),
    /// The call takes that long.
    Slow(Duration),
    /// A read returns data in which the bit of that number (modulo the length) is flipped.
    Flips(usize),
}

/// A fault on demand.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The kind of call.
    pub op: Op,
    /// Which call of this kind is the first to meet it, from 1.
    pub nth: u64,
    /// How many calls meet it.
    pub times: u64,
    /// What happens to them.
    pub effect: Effect,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Goes(Option<Effect>),
    /// The call reports success and does nothing.
    Pretends,
    Fails(Errno),
}

#[derive(Debug, Default)]
pub(super) struct Control {
    pub count: u64,
    pub is_cut: bool,
    pub cut_before: Option<u64>,
    pub dropped: Vec<Op>,
    pub faults: Vec<Fault>,
    pub trace: Vec<String>,
    calls: BTreeMap<Op, u64>,
}

impl Control {
    /// Decides about a call; `what` describes it for the trace.
    pub fn admit(&mut self, op: Op, what: impl FnOnce() -> String) -> Verdict {
        if self.is_cut {
            return Verdict::Fails(Errno::EIO);
        }
        if op.is_counted() {
            if self.cut_before == Some(self.count + 1) {
                self.is_cut = true;
                return Verdict::Fails(Errno::EIO);
            }
            self.count += 1;
            if self.trace.len() < TRACE_MAX {
                self.trace.push(format!("{} {op:?} {}", self.count, what()));
            }
        }
        let call = self.calls.entry(op).or_default();
        *call += 1;
        let number = *call;
        if self.dropped.contains(&op) {
            return Verdict::Pretends;
        }
        let met = self.faults.iter().find(|fault| {
            fault.op == op && (fault.nth..fault.nth.saturating_add(fault.times)).contains(&number)
        });
        if met.is_some()
            && let Some(last) = self.trace.last_mut()
        {
            last.push_str(" meets a fault");
        }
        match met.map(|fault| fault.effect) {
            Some(Effect::Fails(errno)) => Verdict::Fails(errno),
            effect => Verdict::Goes(effect),
        }
    }

    /// How many calls of a kind there were.
    pub fn calls(&self, op: Op) -> u64 {
        self.calls.get(&op).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_cut_nothing_happens_any_more() {
        let mut control = Control { cut_before: Some(2), ..Control::default() };
        let mut ask = |op| control.admit(op, String::new);
        assert_eq!(ask(Op::Create), Verdict::Goes(None));
        assert_eq!(ask(Op::Read), Verdict::Goes(None));
        assert_eq!(ask(Op::Sync), Verdict::Fails(Errno::EIO));
        assert_eq!(ask(Op::Read), Verdict::Fails(Errno::EIO));
        assert_eq!((control.count, control.is_cut), (1, true));
    }

    #[test]
    fn a_fault_meets_the_calls_that_it_is_for() {
        let fault = Fault { op: Op::Write, nth: 2, times: 2, effect: Effect::Short(1) };
        let mut control = Control { faults: vec![fault], ..Control::default() };
        let mut ask = |op| control.admit(op, String::new);
        let met = Verdict::Goes(Some(Effect::Short(1)));
        assert_eq!(ask(Op::Write), Verdict::Goes(None));
        assert_eq!(ask(Op::Sync), Verdict::Goes(None));
        assert_eq!([ask(Op::Write), ask(Op::Write)], [met, met]);
        assert_eq!(ask(Op::Write), Verdict::Goes(None));
    }
}
