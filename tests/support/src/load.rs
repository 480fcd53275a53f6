//! Numbered pixels from many connections, and the exact record of which got their 204.
//!
//! A number is sent once at most. A request that ends without an answer counts as not
//! acknowledged: its event may be in the log or not, and [`Record::check`] holds it to at most
//! once. Connections are made again while the pixel is away, which costs no number.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http::Connection;
use crate::random::Random;

/// How long a connection waits before it is tried again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(5);

/// What to send.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The pixel's address.
    pub address: String,
    /// Goes into every number, so that the events of several loads can be told apart.
    pub run: String,
    /// How many connections.
    pub connections: usize,
    /// How long a connection rests between two requests.
    pub pause: Duration,
    /// When it ends if nobody stops it before.
    pub limit: Duration,
}

/// Requests being sent by threads of their own until they are stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Record>>,
}

#[derive(Debug)]
struct Shared {
    options: LoadOptions,
    padding_bytes: usize,
    deadline: Instant,
    stop: AtomicBool,
    rest: AtomicBool,
    next: AtomicU64,
    acknowledged: AtomicU64,
}

/// What was sent and what was answered.
#[derive(Debug, Default)]
pub struct Record {
    run: String,
    /// The numbers that got their 204.
    pub acknowledged: BTreeSet<u64>,
    /// The numbers that were sent and got no answer, with the reason.
    pub unanswered: BTreeMap<u64, ErrorKind>,
    /// The numbers that got another answer, with its status code.
    pub refused: BTreeMap<u64, u16>,
    /// How many connections could not be made.
    pub unconnected: u64,
    /// The longest time that a 204 took.
    pub slowest: Duration,
}

impl Load {
    /// Begins to send.
    ///
    /// # Panics
    /// If a thread cannot be started.
    pub fn start(options: LoadOptions) -> Self {
        Self::start_padded(options, 0)
    }

    /// As [`Load::start`], with about so many bytes in every event that no codec makes smaller.
    ///
    /// # Panics
    /// If a thread cannot be started.
    pub fn start_padded(options: LoadOptions, padding_bytes: usize) -> Self {
        let shared = Arc::new(Shared {
            deadline: Instant::now() + options.limit,
            stop: AtomicBool::new(false),
            rest: AtomicBool::new(false),
            next: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            options,
            padding_bytes,
        });
        let threads = (0..shared.options.connections)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name("load".into())
                    .spawn(move || shared.run())
                    .expect("start a thread")
            })
            .collect();
        Self { shared, threads }
    }

    /// How many requests got their 204 until now.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Sends nothing more, or goes on.
    pub fn set_resting(&self, rest: bool) {
        self.shared.rest.store(rest, Ordering::Relaxed);
    }

    /// Ends the load, after the answers to what was sent, and returns the record.
    ///
    /// # Panics
    /// If a thread has.
    pub fn stop(mut self) -> Record {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Record { run: self.shared.options.run.clone(), ..Record::default() };
        for thread in std::mem::take(&mut self.threads) {
            all.merge(thread.join().expect("a load thread does not panic"));
        }
        all
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A test that fails must not leave threads behind that go on sending.
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }

    fn run(&self) -> Record {
        let mut record = Record::default();
        let mut connection = None;
        while !self.is_over() {
            if self.rest.load(Ordering::Relaxed) {
                std::thread::sleep(RECONNECT_PAUSE);
                continue;
            }
            let Some(mut open) =
                connection.or_else(|| Connection::open(&self.options.address).ok())
            else {
                connection = None;
                record.unconnected += 1;
                std::thread::sleep(RECONNECT_PAUSE);
                continue;
            };
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            connection = self.pixel(&mut open, number, &mut record).then_some(open);
            if !self.options.pause.is_zero() {
                std::thread::sleep(self.options.pause);
            }
        }
        record
    }

    /// Sends one request; `true` if the connection can be used again.
    fn pixel(&self, connection: &mut Connection, number: u64, record: &mut Record) -> bool {
        let LoadOptions { run, address, .. } = &self.options;
        let padding = padding(number, self.padding_bytes);
        let request = format!(
            "GET /p?n={run}-{number} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: load\r\n{padding}\r\n"
        );
        let begun = Instant::now();
        match connection.request(request.as_bytes()) {
            Ok(response) if response.status == 204 => {
                record.slowest = record.slowest.max(begun.elapsed());
                record.acknowledged.insert(number);
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                response.header("connection") != Some("close")
            }
            Ok(response) => {
                record.refused.insert(number, response.status);
                false
            }
            Err(e) => {
                record.unanswered.insert(number, e.kind());
                false
            }
        }
    }
}

/// A header of so many bytes, none for 0.
fn padding(number: u64, bytes: usize) -> String {
    if bytes == 0 {
        return String::new();
    }
    let mut random = Random::new(number);
    let mut header = String::from("Cookie: ");
    while header.len() < bytes {
        write!(header, "{:016x}", random.next()).expect("a String takes everything");
    }
    header + "\r\n"
}

impl Record {
    fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unanswered.extend(other.unanswered);
        self.refused.extend(other.refused);
        self.unconnected += other.unconnected;
        self.slowest = self.slowest.max(other.slowest);
    }

    /// The number in a query of this load.
    pub fn number_of(&self, query: &str) -> Option<u64> {
        query.strip_prefix("n=")?.strip_prefix(&self.run)?.strip_prefix('-')?.parse().ok()
    }

    /// Holds the queries found at the other end to the promise: what was acknowledged is there
    /// exactly once, what was sent without an acknowledgement once at most, and nothing else.
    ///
    /// # Errors
    /// What is missing, there too often, or was never sent.
    pub fn check<'a>(&self, queries: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
        let mut found = BTreeMap::<u64, u64>::new();
        let mut strange = Vec::new();
        for query in queries {
            match self.number_of(query) {
                Some(number) if self.was_sent(number) => *found.entry(number).or_default() += 1,
                _ => strange.push(query),
            }
        }
        let missing: Vec<_> =
            self.acknowledged.iter().filter(|number| !found.contains_key(number)).collect();
        let repeated: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
        if missing.is_empty() && repeated.is_empty() && strange.is_empty() {
            return Ok(());
        }
        Err(format!(
            "of {} acknowledged and {} unanswered requests: {} acknowledged are missing: {:?}; \
             {} are there more than once (number, times): {:?}; {} were never sent: {:?}",
            self.acknowledged.len(),
            self.unanswered.len() + self.refused.len(),
            missing.len(),
            &missing[..missing.len().min(20)],
            repeated.len(),
            &repeated[..repeated.len().min(20)],
            strange.len(),
            &strange[..strange.len().min(20)],
        ))
    }

    fn was_sent(&self, number: u64) -> bool {
        self.acknowledged.contains(&number)
            || self.unanswered.contains_key(&number)
            || self.refused.contains_key(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            run: "r".into(),
            acknowledged: [0, 1].into(),
            unanswered: [(2, ErrorKind::TimedOut)].into(),
            ..Record::default()
        }
    }

    #[test]
    fn acknowledged_once_and_unanswered_at_most_once_is_what_was_promised() {
        assert_eq!(record().check(["n=r-1", "n=r-0"]), Ok(()));
        assert_eq!(record().check(["n=r-1", "n=r-0", "n=r-2"]), Ok(()));
    }

    #[test]
    fn what_is_missing_repeated_or_strange_is_told() {
        for (queries, told) in [
            (&["n=r-0"][..], "1 acknowledged are missing: [1]"),
            (&["n=r-0", "n=r-1", "n=r-1"], "1 are there more than once (number, times): [(1, 2)]"),
            (&["n=r-0", "n=r-1", "n=r-2", "n=r-2"], "(number, times): [(2, 2)]"),
            (&["n=r-0", "n=r-1", "n=r-3"], "1 were never sent: [\"n=r-3\"]"),
            (&["n=r-0", "n=r-1", "n=s-1"], "1 were never sent: [\"n=s-1\"]"),
        ] {
            let error = record().check(queries.iter().copied()).unwrap_err();
            assert!(error.contains(told), "{queries:?}: {error}");
        }
    }
}
