//! Several files together, and what is told when they cannot be read.

use std::fs;

use proptest::prelude::*;

use super::*;

fn configuration(files: &[(&str, &str)]) -> Result<Configuration, ConfigurationError> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, content) in files {
        let text = format!(
            "<configuration xmlns:xi=\"http://www.w3.org/2001/XInclude\">{content}</configuration>"
        );
        fs::write(dir.path().join(name), text).expect("write");
    }
    Configuration::read(dir.path())
}

fn property(name: &str, value: &str) -> String {
    format!("<property><name>{name}</name><value>{value}</value></property>")
}

#[test]
fn a_later_file_overrides_an_earlier_one_unless_that_is_final() {
    let core = property("a", "core")
        + "<property name='b' value='core' final='true'/>"
        + &property("fs.default.name", "hdfs://old");
    let hdfs = property("a", "hdfs") + &property("b", "hdfs");
    let read = configuration(&[("core-site.xml", &core), ("hdfs-site.xml", &hdfs)]);
    let all = read.expect("it is sound").all().expect("it is small");
    let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(all, [("a", "hdfs"), ("b", "core"), ("fs.defaultFS", "hdfs://old")]);
}

#[test]
fn what_is_wrong_names_the_file() {
    let circle = "<xi:include href='core-site.xml'/>";
    for (core, expected) in [
        ("<property>", "core-site.xml: it is no XML"),
        (circle, "core-site.xml refers to core-site.xml: files refer to each other without end"),
        ("<xi:include href='gone.xml'/>", "core-site.xml refers to gone.xml: there is no such"),
        ("<xi:include href='../x.xml'/>", "core-site.xml refers to ../x.xml: "),
        ("<xi:include href='http://h/x'/>", "core-site.xml refers to http://h/x: only files"),
    ] {
        let error = configuration(&[("core-site.xml", core)]).expect_err(core).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let endless =
        configuration(&[("core-site.xml", &(property("a", "${b}") + &property("b", "${a}")))]);
    let endless = endless.expect("it is XML");
    assert!(endless.all().expect("nobody asks for it").is_empty());
    let error = endless.get("a").expect_err("somebody does").to_string();
    assert!(error.contains("core-site.xml: the value of a "), "{error}");
}

/// Pieces of a configuration, in any order.
fn pieces() -> impl Strategy<Value = String> {
    const PIECES: [&str; 24] = [
        "<!DOCTYPE c [",
        "]>",
        "<!ENTITY a 'x&b;'>",
        "<!ENTITY b SYSTEM 'in.xml'>",
        "<!ENTITY ",
        "<!ENTITY % p '&#37;p;'>",
        "%p;",
        "&a;",
        "&b;",
        "&#65;",
        "&",
        "<c>",
        "</c>",
        "<name>a</name>",
        "<value>${a}${b}</value>",
        "<property name='a' value=\"&a;\"/>",
        "<property>",
        "</property>",
        "<include href='in.xml'>",
        "</include>",
        "<fallback>",
        "<!--",
        "-->",
        "\u{e9}'",
    ];
    let piece = proptest::sample::select(PIECES.as_slice());
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in pieces(), included in pieces(), cut in any::<u8>()) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let bytes = text.as_bytes();
        let whole = &bytes[..bytes.len().saturating_sub(usize::from(cut) / 16)];
        fs::write(dir.path().join("core-site.xml"), whole).expect("write");
        fs::write(dir.path().join("in.xml"), included).expect("write");
        if let Ok(configuration) = Configuration::read(dir.path()) {
            configuration.all().expect("it is small");
        }
    }
}

#[test]
fn files_and_values_are_bounded() {
    let much = "x".repeat(3 * 1024 * 1024);
    configuration(&[("core-site.xml", &property("a", &much))]).expect_err("a large file");
    // Each doubles: as much is read as a file that is a thousand times as large.
    let doubling: Vec<(String, String)> = (0..15)
        .map(|i| (format!("{i}.xml"), format!("<xi:include href='{}.xml'/>", i + 1).repeat(2)))
        .chain([("15.xml".to_owned(), property("a", &"x".repeat(1000)))])
        .collect();
    let mut files: Vec<(&str, &str)> =
        doubling.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.push(("core-site.xml", "<xi:include href='0.xml'/>"));
    configuration(&files).expect_err("it is read 32,768 times");
    let many: String = (0..4000).map(|i| property(&format!("p{i}"), &"${a}".repeat(15))).collect();
    let large = property("a", &"x".repeat(1000)) + &many;
    let read = configuration(&[("core-site.xml", &large)]).expect("the file is small");
    let error = read.all().expect_err("what comes of it is not").to_string();
    assert!(error.contains("core-site.xml"), "{error}");
}
