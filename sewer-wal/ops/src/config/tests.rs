//! Layers, mistakes and origins of a configuration.

use super::*;
use serde::Deserialize;

#[derive(Debug, Serialize, Deserialize, PartialEq, Default)]
#[serde(deny_unknown_fields)]
struct Sample {
    wal: Wal,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Wal {
    dir: PathBuf,
    count: u32,
}

impl Default for Wal {
    fn default() -> Self {
        Self { dir: "/default".into(), count: 1 }
    }
}

fn load_text(text: &str, sets: &[&str]) -> Result<Sample, String> {
    let file = tempfile_with(text);
    let sets: Vec<_> = sets.iter().map(ToString::to_string).collect();
    let result = load(Path::new("/nonexistent"), Some(file.as_path()), &sets);
    let name = file.display().to_string();
    std::fs::remove_file(&file).unwrap();
    result.map_err(|e| e.to_string().replace(&name, "FILE"))
}

fn tempfile_with(text: &str) -> PathBuf {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("sewer-ops-{}-{number}.toml", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn flags_go_before_the_file_and_the_file_before_the_defaults() {
    let sets = ["wal.dir=/first", "wal.dir=/flag"];
    let config = load_text("[wal]\ncount = 2\n", &sets).unwrap();
    assert_eq!(config.wal, Wal { dir: "/flag".into(), count: 2 });
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_its_neighbours() {
    let error = load_text("[wal]\ndri = \"x\"\n", &[]).unwrap_err();
    assert_eq!(error, "FILE:2: unknown key `wal.dri`; known here: `dir`, `count`");
    let error = load_text("[wall]\n", &[]).unwrap_err();
    assert_eq!(error, "FILE:1: unknown key `wall`; known here: `wal`");
    let error = load_text("", &["wal.x=1"]).unwrap_err();
    assert_eq!(error, "--set: unknown key `wal.x`; known here: `dir`, `count`");
}

#[test]
fn every_mistake_is_told_at_once_with_its_layer_and_line() {
    let text = "[wal]\ndri = \"x\"\n\ncount = -1\n[[wal.part]]\nname = 1\n[wall]\n";
    let error = load_text(text, &["wal.dir=7", "wal.cuont=7"]).unwrap_err();
    let mut lines: Vec<_> = error.lines().collect();
    lines.sort_unstable();
    let places = lines.iter().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": "));
    assert_eq!(
        places.collect::<Vec<_>>(),
        [
            "--set: key `wal.dir`",
            "--set: unknown key `wal.cuont`; known here",
            "FILE:2: unknown key `wal.dri`; known here",
            "FILE:4: key `wal.count`",
            "FILE:5: unknown key `wal.part`; known here",
            "FILE:7: unknown key `wall`; known here",
        ],
        "{error}"
    );
}

#[test]
fn the_origin_of_a_value_is_its_layer() {
    let file = tempfile_with("[wal]\ncount = 2\n");
    let sets = ["wal.dir=/flag".to_owned()];
    let layers = Layers::read::<Sample>(Path::new("/"), Some(&file), &sets).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(layers.origin("wal.count"), format!("{}:2", file.display()));
    assert_eq!(layers.origin("wal.dir"), "--set");
    let layers = Layers::read::<Sample>(Path::new("/nowhere"), None, &[]).unwrap();
    assert_eq!(layers.origin("wal.count"), "default");
}

#[test]
fn a_variable_with_an_underscore_too_few_is_noticed_and_a_foreign_one_is_not() {
    let names = [
        "SEWER_WAL_DIR",
        "SEWER_WAL__DIR",
        "SEWER_PORT",
        "SEWER_WAL_PORT",
        "SEWER_PIXEL_SERVICE_HOST",
        "WAL_DIR",
    ];
    let found = mistyped::<Sample>(names.into_iter().map(OsString::from));
    assert_eq!(found, ["SEWER_WAL_DIR"]);
}

#[test]
fn a_wrong_value_is_named_with_its_key() {
    let error = load_text("[wal]\ncount = \"many\"\n", &[]).unwrap_err();
    assert!(error.starts_with("FILE:2: key `wal.count`: "), "{error}");
    let error = load_text("[wal\n", &[]).unwrap_err();
    assert!(error.starts_with("FILE: ") && !error.contains('\n'), "{error}");
}

#[test]
fn a_file_that_is_asked_for_must_exist() {
    let error = load::<Sample>(Path::new("/x"), Some(Path::new("/no/such")), &[]).unwrap_err();
    assert!(error.to_string().starts_with("read configuration /no/such: "), "{error}");
    assert_eq!(load::<Sample>(Path::new("/no/such"), None, &[]).unwrap(), Sample::default());
}

#[test]
fn a_malformed_flag_says_how_to_write_it() {
    for flag in ["x", "=1", "a..b=1", "a b=1"] {
        assert!(load_text("", &[flag]).is_err(), "{flag}");
    }
}
