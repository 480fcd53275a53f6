//! `conf/shipper.toml` says what the code does.

use sewer_shipper::config::Config;
use sewer_shipper::hadoop::codec::Compression;
use sewer_shipper::record::format::Format;
use sewer_test_support::conf;

#[test]
fn the_file_has_every_key_with_its_default_and_no_other() {
    conf::check::<Config>("shipper.toml");
}

#[test]
fn the_file_names_every_format_and_compression() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf/shipper.toml");
    let text = std::fs::read_to_string(path).unwrap();
    // There is a `format` of the log, too; the first is that of the output.
    let formats = Format::ALL.map(|format| ("format", format.name()));
    let compressions = Compression::ALL.map(|compression| ("compression", compression.name()));
    for (key, name) in formats.into_iter().chain(compressions) {
        let (before, _) = text.split_once(&format!("\n{key} = ")).unwrap();
        let (_, comment) = before.rsplit_once("\n\n").unwrap();
        assert!(comment.contains(&format!("\"{name}\"")), "{name} above {key}:\n{comment}");
    }
}
