//! What an enemy sends who knows the code, the format, the WAL's id, its LSNs, and even earlier
//! logs and segments of the node: everything but the salt of the log that is being written.

use sewer_test_support::random::Random;
use sewer_wal::{Event, WalId};

/// What the enemy knows of the log that its bytes come to lie in.
#[derive(Clone)]
pub struct Known {
    pub wal_id: WalId,
    pub segment: u64,
    /// The LSN and the id of the entry that comes next.
    pub next_lsn: u64,
    pub next_id: u64,
    /// The LSN of the log's first event.
    pub base: u64,
    /// Where in the file the batch begins that the bytes come to lie in.
    pub offset: u64,
    /// Whole logs and segments of this node, byte for byte.
    pub leaked: Vec<Vec<u8>>,
}

fn chunk(data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap().to_le_bytes();
    [&[2], &length[..], data, &crc32c::crc32c(data).to_le_bytes()].concat()
}

/// An event as the log has it, that nobody has requested.
pub fn forged_event(timestamp_ms: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let event = Event {
        timestamp_ms,
        ip: Some(b"6.6.6.6"),
        request_path: Some(b"forged"),
        ..Event::default()
    };
    event.encode(&mut bytes).unwrap();
    bytes
}

/// An entry of format 1.
pub fn entry_v1(id: u64, first: u64, count: u32, events: &[Vec<u8>]) -> Vec<u8> {
    let header = [&first.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let mut bytes = [&[1], &id.to_le_bytes()[..], &chunk(&header)].concat();
    for event in events {
        bytes.extend(chunk(event));
    }
    bytes.push(3);
    bytes
}

/// The bytes of a batch's header before the lengths of its events.
pub const FIXED_BYTES: usize = 52;

/// A batch of format 2 with a salt that may be any, padded to a block or not.
pub fn batch_v2(
    id: u64,
    (salt, offset): ([u8; 16], u64),
    (base, first): (u64, u64),
    events: &[Vec<u8>],
    padded: bool,
) -> Vec<u8> {
    let data: usize = events.iter().map(|event| event.len() + 9).sum();
    let unpadded = 9 + 9 + FIXED_BYTES + 4 * events.len() + data + 1;
    let blocks = (unpadded + 9).next_multiple_of(4096);
    let length = if padded { blocks } else { unpadded };
    let mut header = [&salt[..], &offset.to_le_bytes()].concat();
    header.extend(base.to_le_bytes());
    header.extend(first.to_le_bytes());
    // Believed of a torn batch only; what it says of zeros is true of none here.
    header.extend(0_u32.to_le_bytes());
    header.extend(u32::try_from(length).unwrap().to_le_bytes());
    header.extend(u32::try_from(events.len()).unwrap().to_le_bytes());
    for event in events {
        header.extend(u32::try_from(event.len()).unwrap().to_le_bytes());
    }
    let mut bytes = [&[1], &id.to_le_bytes()[..], &chunk(&header)].concat();
    for event in events {
        bytes.extend(chunk(event));
    }
    if padded {
        bytes.extend(chunk(&vec![0; blocks - unpadded - 9]));
    }
    bytes.push(3);
    bytes
}

/// The first 35 bytes of a log.
pub fn header(version: u8, wal_id: WalId, segment: u64) -> Vec<u8> {
    let id = wal_id.0.to_le_bytes();
    let mut info = [&b"sewer-wal"[..], &[version], &id, &segment.to_le_bytes()].concat();
    info.extend(crc32c::crc32c(&info).to_le_bytes());
    [&b"okw\0\x1e"[..], &info].concat()
}

/// The header and the descriptor of a whole log, or only those of a compact segment.
fn log_start(known: &Known, salt: [u8; 16], form: u8) -> Vec<u8> {
    let mut bytes = header(2, known.wal_id, known.segment);
    let info = bytes[5..].to_vec();
    let mut descriptor = [&salt[..], &[form, 0, 0, 0]].concat();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&info), &descriptor);
    descriptor.extend(crc.to_le_bytes());
    bytes.extend([&[1], &1_u64.to_le_bytes()[..]].concat());
    if form == 1 {
        let mut data = vec![0; 8192 - 5 - 49];
        data[..24].copy_from_slice(&descriptor);
        data[4096 - 49..4096 - 49 + 30].copy_from_slice(&info);
        data[4096 - 19..4096 + 5].copy_from_slice(&descriptor);
        bytes.extend(chunk(&data));
    } else {
        bytes.extend(chunk(&descriptor));
    }
    bytes.push(3);
    bytes
}

/// A footer of either version, of data with this CRC.
fn footer(version: u32, known: &Known, salt: [u8; 16], base: u64, count: u64) -> Vec<u8> {
    let mut bytes = [&b"SEWERSEG"[..], &version.to_le_bytes()].concat();
    for number in [known.wal_id.0, base, count, 0, 0, 8192] {
        bytes.extend(number.to_le_bytes());
    }
    if version == 2 {
        bytes.extend([&salt[..], &[1, 0, 0, 0]].concat());
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    }
    bytes.extend([0; 4]);
    bytes
}

impl Known {
    /// One piece of hostile bytes, which comes to lie at `offset` in the file. An event of a batch
    /// cannot be larger than a megabyte, and most are far smaller.
    pub fn piece(&self, offset: u64, random: &mut Random) -> Vec<u8> {
        let id = self.next_id + random.below(4);
        let first = self.next_lsn + *random.pick(&[0, 0, 1, 2, 40, 1 << 50, (1 << 63) - 2]);
        let salt = match random.below(3) {
            0 => [0; 16],
            1 => [0xff; 16],
            _ => self.salt_of_an_older_log(random),
        };
        let time = *random.pick(&[0, 1_700_000_000_000, 1 << 62, i64::MIN]);
        let events = match random.below(4) {
            0 => vec![],
            1 => vec![b"not an event".to_vec()],
            _ => vec![forged_event(time); 1 + usize::try_from(random.below(3)).unwrap()],
        };
        let count = u32::try_from(events.len()).unwrap();
        match random.below(9) {
            0 => entry_v1(id, first, count, &events),
            1 => entry_v1(id, u64::MAX - random.below(3), count, &events),
            2 => entry_v1(id, first, u32::MAX, &events),
            3 => batch_v2(id, (salt, offset), (self.base, first), &events, true),
            4 => batch_v2(id, (salt, offset), (self.base, first), &events, false),
            5 => {
                let mut log = log_start(self, salt, 1 + u8::from(random.below(2) == 0));
                log.extend(batch_v2(
                    2,
                    (salt, 8192),
                    (self.next_lsn, self.next_lsn),
                    &events,
                    true,
                ));
                log
            }
            6 => footer(1 + u32::from(random.below(2) == 0), self, salt, self.next_lsn, 5),
            7 => header(1, self.wal_id, self.segment),
            _ => self.part_of_an_older_log(random),
        }
    }

    /// The descriptor has it from byte 49 on.
    fn salt_of_an_older_log(&self, random: &mut Random) -> [u8; 16] {
        if self.leaked.is_empty() {
            return [1; 16];
        }
        *random.pick(&self.leaked)[49..].first_chunk().unwrap()
    }

    fn part_of_an_older_log(&self, random: &mut Random) -> Vec<u8> {
        if self.leaked.is_empty() {
            return entry_v1(self.next_id, self.next_lsn, 0, &[]);
        }
        let log = random.pick(&self.leaked);
        // The whole of it, or from a block on.
        let from = *random.pick(&[0, 4096, 8192, 12288, 16384]).min(&log.len());
        let length = log.len().min(60_000 + from) - from;
        log[from..from + length].to_vec()
    }
}
