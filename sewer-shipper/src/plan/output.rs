//! One file of a shipment, as planned and as far as it has come.

use serde::{Deserialize, Serialize};

use crate::destination::Fingerprint;

/// One file of the shipment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputPlan {
    /// The partition directory.
    pub directory: String,
    /// The final name within it.
    pub name: String,
    /// The records in it.
    pub records: u64,
    /// The latest timestamp in it, in milliseconds since the Unix epoch.
    pub last_timestamp_ms: i64,
    /// The attempts whose temporary files may be there, written down before the first of them is
    /// made; unknown in the plan of an earlier build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Attempts>,
    /// Length and checksum of the file that was confirmed, written down before it gets its final
    /// name: by them a later build knows its own file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Fingerprint>,
    /// True once it has its final name.
    pub published: bool,
    /// The replication to be restored once it is published, if it is written with less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<u32>,
}

/// Numbers of attempts, both ends included; none if the last comes before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempts {
    /// The first of which something may be left.
    pub first: u32,
    /// The last that may have begun.
    pub last: u32,
}

impl Attempts {
    /// The first attempt, and no other.
    pub const FIRST: Self = Self { first: 1, last: 1 };
}

impl OutputPlan {
    /// The path of the finished file.
    pub fn final_path(&self) -> String {
        format!("{}/{}", self.directory, self.name)
    }

    /// The path under which an attempt writes it.
    pub fn temporary_path(&self, attempt: u32) -> String {
        format!("{}/.{}.{attempt}.tmp", self.directory, self.name)
    }

    /// Which attempt a name in the directory is, if it is one of this file.
    pub fn attempt_of(&self, name: &str) -> Option<u32> {
        name.strip_prefix('.')?
            .strip_prefix(&self.name)?
            .strip_prefix('.')?
            .strip_suffix(".tmp")?
            .parse()
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_is_hidden_and_recognised() {
        let output = OutputPlan {
            directory: "/d".into(),
            name: "n.seq".into(),
            records: 1,
            last_timestamp_ms: 0,
            attempts: None,
            confirmed: None,
            published: false,
            replication: None,
        };
        assert_eq!(output.temporary_path(3), "/d/.n.seq.3.tmp");
        assert_eq!(output.attempt_of(".n.seq.3.tmp"), Some(3));
        for other in ["n.seq", ".n.seq.tmp", ".m.seq.3.tmp", ".n.seq.x.tmp"] {
            assert_eq!(output.attempt_of(other), None, "{other}");
        }
    }
}
