//! Abandoned writers cost no file descriptors. Alone in its process, where they can be counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sewer_shipper::destination::{CreateOptions, Destination, Options, Output, open};
use sewer_test_support::hdfs::{self, Hdfs, HdfsOptions};

const WRITERS: usize = 20;
/// A client has a runtime, a connection and, here, a writer; less than the abandoned writers.
const TWO_CLIENTS_MAX: usize = 15;
/// Runtimes end a little after they are told to.
const WAIT: Duration = Duration::from_secs(10);

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux").count()
}

async fn begin(there: &dyn Destination, name: &str) -> Box<dyn Output> {
    there.create(&format!("/d/{name}"), CreateOptions::default()).await.expect("create")
}

fn sinks_to(limit: usize) -> bool {
    let start = Instant::now();
    while descriptors() > limit {
        if start.elapsed() > WAIT {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_writers_release_their_sockets() {
    if !hdfs::available_or_skip("descriptors") {
        return;
    }
    let hdfs = Hdfs::start(&HdfsOptions::default());
    let options = Options { hadoop_conf_dir: Some(hdfs.conf_dir()), ..Options::default() };
    let there: Arc<dyn Destination> = open(&hdfs.uri(), options).expect("a valid URI");
    let before = descriptors();
    let mut kept = begin(&*there, ".kept.1.tmp").await;
    for i in 0..WRITERS {
        let mut output = begin(&*there, &format!(".{i}.1.tmp")).await;
        output.write(Bytes::from(vec![1; 300_000])).await.expect("write");
        kept.write(Bytes::from(vec![2; 100_000])).await.expect("another writer goes on");
    }
    let count = descriptors();
    assert!(sinks_to(before + TWO_CLIENTS_MAX), "{before} before, {count} with two clients");
    assert_eq!(kept.close().await.expect("close"), WRITERS as u64 * 100_000);
    assert!(
        there.list("/d").await.expect("the destination works").all().await.expect("list").len()
            > WRITERS
    );
    drop(there);
    let count = descriptors();
    assert!(sinks_to(before + 2), "{before} before, {count} after, {} at last", descriptors());
}
