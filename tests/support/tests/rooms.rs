//! Arrows between the rooms of a crate go one way. A room is a file or folder directly below `src`,
//! an arrow a path by which its code names another room; test modules are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Every crate, by its folder.
const CRATES: [&str; 6] =
    ["sewer-wal", "sewer-wal/ops", "sewer-pixel", "sewer-shipper", "tests/support", "tests/bench"];

/// The crates that still have circles. Whoever turns the last arrow takes his crate off.
const NOT_YET: [&str; 0] = [];

/// The rooms that each room names, and the file that does so first.
type Arrows = BTreeMap<String, BTreeMap<String, String>>;

#[test]
fn no_two_rooms_of_a_crate_need_each_other() {
    for name in CRATES {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name).join("src");
        let mut files = Vec::new();
        read(&src, "", &mut files);
        let arrows = arrows(&files);
        assert!(arrows.len() > 1, "{name} has no rooms: {arrows:?}");
        let circles = circles(&arrows).join("\n");
        if NOT_YET.contains(&name) {
            assert!(!circles.is_empty(), "{name} is in order: take it off NOT_YET in {}", file!());
        } else {
            assert!(circles.is_empty(), "arrows of {name} that go in a circle:\n{circles}");
        }
    }
}

/// The text of every file below a folder, by its path below `src`.
fn read(dir: &Path, below: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("read {}: {e}", dir.display())) {
        let path = entry.expect("an entry").path();
        let name = format!("{below}{}", path.file_name().unwrap().to_str().expect("a UTF-8 name"));
        if path.is_dir() {
            read(&path, &format!("{name}/"), files);
        } else if let Some(name) = name.strip_suffix(".rs") {
            files.push((name.to_owned(), fs::read_to_string(&path).expect("read a source file")));
        }
    }
}

/// Who names whom; every room is in it.
fn arrows(files: &[(String, String)]) -> Arrows {
    let files: Vec<_> = files.iter().map(|(name, text)| (name, without_tests(text))).collect();
    let roots = files.iter().filter(|(name, _)| ["lib", "main"].contains(&name.as_str()));
    let mut arrows = Arrows::new();
    // Names at the crate's root that stand for something in a room.
    let mut stand_for = BTreeMap::new();
    for statement in roots.flat_map(|(_, text)| text.split([';', '}'])) {
        if let Some((_, room)) = statement.rsplit_once("mod ")
            && !room.contains('{')
        {
            arrows.insert(room.to_owned(), BTreeMap::new());
        } else if let Some((_, path)) = statement.rsplit_once("use ")
            && let Some((room, names)) = path.trim_start_matches("self::").split_once("::")
        {
            let names = names.trim_start_matches('{').split(',').map(str::trim);
            stand_for.extend(names.map(|name| (name.to_owned(), room.to_owned())));
        }
    }
    for (name, text) in &files {
        let parts: Vec<&str> = name.split('/').filter(|part| *part != "mod").collect();
        if parts.last() == Some(&"tests") || !arrows.contains_key(parts[0]) {
            continue;
        }
        let text = text.replace(&"super::".repeat(parts.len()), "crate::");
        for named in named(&text) {
            let to = stand_for.get(named).map_or(named, String::as_str);
            if to != parts[0] && arrows.contains_key(to) {
                let arrow = arrows.get_mut(parts[0]).expect("just looked");
                arrow.entry(to.to_owned()).or_insert_with(|| format!("{name}.rs"));
            }
        }
    }
    arrows
}

/// The code without comments and without what is compiled for tests only, in one line.
fn without_tests(text: &str) -> String {
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        if code.starts_with("#[cfg(test)]") {
            // The item goes on to a line that ends where it began.
            let end = format!("{}}}", &line[..line.len() - code.len()]);
            let is_last = |line: &str| line.ends_with(';') && !line.starts_with(' ');
            lines.by_ref().take_while(|line| *line != end && !is_last(line)).for_each(drop);
        } else if !code.starts_with("//") {
            kept.push(code);
        }
    }
    kept.join(" ")
}

/// No part of a name.
fn ends_name(c: char) -> bool {
    !c.is_alphanumeric() && c != '_'
}

/// The first names behind each `crate::`, those of a group included.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let own = |at: &usize| *at == 0 || text[..*at].ends_with(ends_name);
    let behind =
        text.match_indices("crate::").map(|(at, _)| at).filter(own).map(|at| &text[at + 7..]);
    let groups = behind.map(|path| match path.strip_prefix('{') {
        Some(group) => group.split_once(';').expect("the end of `use`").0,
        None => path.split(ends_name).next().unwrap_or_default(),
    });
    let items = groups.flat_map(|group| group.split(','));
    items.filter_map(|item| item.trim_start().split(ends_name).next())
}

/// The arrows from which there is a way back, a line each.
fn circles(arrows: &Arrows) -> Vec<String> {
    let leads_to = |from: &str, to: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(room) = next.pop() {
            if seen.insert(room) {
                next.extend(arrows[room].keys().map(String::as_str));
            }
        }
        seen.contains(to)
    };
    let all = arrows.iter().flat_map(|(from, named)| named.iter().map(move |to| (from, to)));
    let back = all.filter(|(from, (to, _))| leads_to(to, from));
    back.map(|(from, (to, file))| format!("{from} -> {to} ({file})")).collect()
}

#[test]
fn a_circle_is_found_and_named_however_it_is_written() {
    let crate_of = |files: &[(&str, &str)]| {
        let owned = files.iter().map(|&(name, text)| (name.to_owned(), text.to_owned()));
        circles(&arrows(&owned.collect::<Vec<_>>()))
    };
    let root = ("lib", "pub mod a;\nmod b;\nmod c;\npub use self::a::{Thing, Other};\n");
    let a = ("a", "use crate::{\n    b::{self, X},\n    c,\n};\n");
    assert!(crate_of(&[root, a, ("b", "use crate::c;"), ("c/mod", "use self::d;")]).is_empty());

    let through_three =
        [root, ("a", "use crate::b;"), ("b", "use crate::c;"), ("c", "crate::a();")];
    let found = crate_of(&through_three);
    assert_eq!(found, ["a -> b (a.rs)", "b -> c (b.rs)", "c -> a (c.rs)"]);
    for back in ["use crate::a;", "fn f() {\n    crate::Other::new()\n}", "use super::super::a::X;"]
    {
        let found = crate_of(&[root, a, ("b", ""), ("c/mod", ""), ("c/d", back)]);
        assert_eq!(found, ["a -> c (a.rs)", "c -> a (c/d.rs)"], "{back}");
    }
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n";
    for none in ["// use crate::a;", "use other_crate::a;", "use crate::c::a;", tests] {
        let found = crate_of(&[root, a, ("b", ""), ("c", none), ("c/tests", "use crate::a;")]);
        assert!(found.is_empty(), "{none}: {found:?}");
    }
    let behind = format!("#[cfg(test)]\nmod testing;\n{tests}use crate::a;");
    assert_eq!(crate_of(&[root, a, ("b", &behind), ("c", "")]).len(), 2);
}
