//! Names of segments in plans. A plain name is written as the number that it is, as every earlier
//! build does; a name that carries its WAL's id is written as text.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sewer_wal::{Lsn, SegmentName};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Plain(Lsn),
    WithId(SegmentName),
}

impl From<SegmentName> for Written {
    fn from(name: SegmentName) -> Self {
        if name.wal_id.is_none() { Self::Plain(name.base) } else { Self::WithId(name) }
    }
}

impl From<Written> for SegmentName {
    fn from(written: Written) -> Self {
        match written {
            Written::Plain(base) => base.into(),
            Written::WithId(name) => name,
        }
    }
}

pub(super) fn serialize<S: Serializer>(
    names: &[SegmentName],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().copied().map(Written::from))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SegmentName>, D::Error> {
    let written = Vec::<Written>::deserialize(deserializer)?;
    Ok(written.into_iter().map(SegmentName::from).collect())
}

/// The same for a single name.
pub(super) mod one {
    use super::{Deserialize, Deserializer, SegmentName, Serialize, Serializer, Written};

    #[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
    pub(in crate::plan) fn serialize<S: Serializer>(
        name: &SegmentName,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Written::from(*name).serialize(serializer)
    }

    pub(in crate::plan) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SegmentName, D::Error> {
        Written::deserialize(deserializer).map(SegmentName::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sewer_wal::WalId;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Names(#[serde(with = "super")] Vec<SegmentName>);

    #[test]
    fn plain_names_are_numbers_and_others_are_text() {
        let with_id = SegmentName { wal_id: Some(WalId(0xab)), base: Lsn(5) };
        let names = Names(vec![Lsn(0).into(), with_id]);
        let text = serde_json::to_string(&names).unwrap();
        assert_eq!(text, "[0,\"00000000000000000005-00000000000000ab.seg\"]");
        assert_eq!(serde_json::from_str::<Names>(&text).unwrap(), names);
        for wrong in ["[\"5.seg\"]", "[-1]", "[9223372036854775808]", "[null]"] {
            assert!(serde_json::from_str::<Names>(wrong).is_err(), "{wrong}");
        }
    }
}
