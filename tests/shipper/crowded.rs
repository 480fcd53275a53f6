//! A partition with more than 100,000 names, as a fleet fills it: shipments that failed once end,
//! and all of it can be listed.

use std::fs;

use sewer_wal::sealed;

use crate::delivery::{EVENTS, Node};
use crate::script::Script;

const NAMES: u32 = 100_100;

#[tokio::test]
async fn a_shipment_that_failed_ends_in_a_directory_of_any_size() {
    let node = Node::new();
    let partition = node.dir.path().join("out/sewer/1970-01-01/00");
    fs::create_dir_all(&partition).unwrap();
    for number in 0..NAMES {
        fs::write(partition.join(format!(".of-another-{number}")), "").unwrap();
    }
    // Killed after the first file is closed, and again when the next shipper has closed its own.
    let mut shipment = node.plan(node.tools(&Script::killing(2, true)));
    shipment.run().await.unwrap_err();
    let mut shipment = node.take_up(node.tools(&Script::killing(4, true))).unwrap();
    shipment.run().await.unwrap_err();
    let tools = node.tools(&Script::failing(usize::MAX, false));
    node.take_up(tools).unwrap().run().await.unwrap();
    assert_eq!(node.delivered_visible().len() as u64, EVENTS);
    assert_eq!(sealed::list(&node.layout).unwrap(), []);
    let hidden = fs::read_dir(&partition).unwrap().count();
    assert_eq!(hidden, NAMES as usize + 1, "nothing temporary is left");
    let destination = node.tools(&Script::failing(usize::MAX, false)).destination;
    let entries = destination.list("/sewer/1970-01-01/00").await.unwrap();
    assert_eq!(entries.all().await.unwrap().len(), NAMES as usize + 1);
}
