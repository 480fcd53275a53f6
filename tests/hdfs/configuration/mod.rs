//! Hadoop's configuration files mean to the shipper what they mean to Hadoop's own class.

mod cases;
mod entities;
mod together;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sewer_shipper::destination::hadoop_properties;
use sewer_test_support::hadoop;
use sewer_test_support::random::Random;

use self::cases::{document, final_cases, only, plain_cases, property, reference_cases, typed};
use self::entities::{entities_of_files, entities_within, odd_documents};
use self::together::{generated, inclusion_cases};

/// A name that the environment does not have.
const GONE: &str = "SEWERTEST_NO_SUCH_VARIABLE";

fn write(dir: &Path, files: &[(&str, String)]) {
    fs::create_dir_all(dir).expect("create");
    for (name, text) in files {
        let file = dir.join(name);
        fs::create_dir_all(file.parent().expect("it is below")).expect("create");
        fs::write(file, text).expect("write");
    }
}

/// Encodings, which no text can have.
fn write_encoded(dir: &Path) -> Vec<(String, PathBuf)> {
    let text = "<configuration><property><name>a</name><value>é</value></property></configuration>";
    let latin = format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>{text}");
    let latin: Vec<u8> =
        latin.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin")).collect();
    let utf16 = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        format!("\u{feff}{text}").encode_utf16().flat_map(unit).collect()
    };
    let files = [
        ("Latin 1", latin),
        ("UTF-16, big endian", utf16(u16::to_be_bytes)),
        ("UTF-16, little endian", utf16(u16::to_le_bytes)),
        ("UTF-8 that is none", b"<configuration>\xe9</configuration>".to_vec()),
    ];
    let write = |(about, bytes): (&str, Vec<u8>)| {
        let dir = dir.join(about.replace(' ', "-"));
        fs::create_dir_all(&dir).expect("create");
        fs::write(dir.join("core-site.xml"), bytes).expect("write");
        (about.to_owned(), dir)
    };
    files.into_iter().map(write).collect()
}

/// The properties of a directory; none if its files cannot be read.
type Read = Option<BTreeMap<String, String>>;

/// What the program printed: the properties of each directory, and the replaced names.
fn by_hadoop(dirs: &[PathBuf]) -> (Vec<Read>, BTreeMap<String, String>) {
    let jars = hadoop::available().expect("it is there");
    let printed = jars.run(None, "ReadConfiguration", dirs).expect("Hadoop's class");
    let (mut read, mut replaced) = (Vec::new(), BTreeMap::new());
    for line in printed.lines() {
        if let Ok(mut line) = serde_json::from_str::<Value>(line) {
            read.push(serde_json::from_value(line["properties"].take()).expect("properties"));
        } else if let Some((old, new)) = line.split_once('\t') {
            replaced.insert(old.to_owned(), new.trim().to_owned());
        }
    }
    (read, replaced)
}

#[test]
fn files_mean_what_they_mean_to_hadoop() {
    if !hadoop::available_or_skip("hdfs::configuration") {
        return;
    }
    let mut random = Random::announced("hdfs::configuration");
    let root = tempfile::tempdir().expect("a temporary directory");
    let plain = [plain_cases(), final_cases(), reference_cases()].concat();
    let together = [inclusion_cases(), entities_of_files(), entities_within(), odd_documents()];
    let all = [plain, together.concat()];
    let mut cases: Vec<(String, PathBuf)> = write_encoded(&root.path().join("encoded"));
    let written = all.concat().into_iter().map(|(about, files)| (about.to_owned(), files));
    let drawn = (0..60).map(|i| (format!("generated {i}"), generated(&mut random)));
    let drawn: Vec<_> = drawn.collect();
    for (number, (about, files)) in written.chain(drawn).enumerate() {
        let dir = root.path().join(number.to_string());
        write(&dir, &files);
        cases.push((about, dir));
    }
    let dirs: Vec<PathBuf> = cases.iter().map(|(_, dir)| dir.clone()).collect();
    let (read, _) = by_hadoop(&dirs);
    assert_eq!(read.len(), cases.len());
    let mut refused = 0;
    let mut wrong = Vec::new();
    for ((about, dir), hadoop) in cases.iter().zip(&read) {
        let ours = hadoop_properties(dir);
        refused += usize::from(hadoop.is_none());
        if ours.as_ref().ok() != hadoop.as_ref() {
            wrong.push(format!("{about}\n  Hadoop: {hadoop:?}\n  Sewer:  {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!((5..cases.len() / 2).contains(&refused), "{refused} of {}", cases.len());
    println!("{} directories, {refused} of them refused by both", cases.len());
}

#[test]
fn old_names_are_those_that_hadoop_has_replaced() {
    if !hadoop::available_or_skip("hdfs::configuration") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_, replaced) = by_hadoop(&[]);
    assert!(replaced.len() > 40, "{replaced:?}");
    for (old, new) in &replaced {
        write(dir.path(), &only(&property(old, "x")));
        let ours = hadoop_properties(dir.path()).expect("one property");
        assert_eq!(ours.keys().collect::<Vec<_>>(), [new], "{old}");
    }
}

/// Hadoop reads whatever is named; here that is a way to any file of the machine, or none at all.
#[test]
fn nothing_outside_of_the_directory_is_read_though_hadoop_would() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let (conf, secret) = (root.path().join("conf"), root.path().join("secret.xml"));
    fs::write(&secret, property("a", "secret")).expect("write");
    fs::create_dir_all(&conf).expect("create");
    symlink(&secret, conf.join("link.xml")).expect("link");
    for reference in
        ["../secret.xml", &secret.display().to_string(), "link.xml", "http://127.0.0.1:1/x"]
    {
        let files = [
            document(&format!("<xi:include href='{reference}'/>")),
            typed(&format!("[<!ENTITY e SYSTEM '{reference}'>]"), "&e;"),
            typed(&format!("SYSTEM '{reference}'"), ""),
        ];
        for text in files {
            write(&conf, &[("core-site.xml", text)]);
            let error = hadoop_properties(&conf).expect_err(reference).to_string();
            assert!(error.contains("core-site.xml") && error.contains(reference), "{error}");
            assert!(!error.contains("<name>"), "nothing of it is told: {error}");
        }
    }
}
