//! Files that refer to each other: what they include. And files as they come.

use sewer_test_support::random::Random;

use super::cases::{Case, document, property};

pub fn inclusion_cases() -> Vec<Case> {
    let pair = property("a", "x") + &property("b", "y");
    let include = |href: &str| format!("<xi:include href=\"{href}\"/>");
    let with_fallback = |href: &str| {
        format!(
            "<xi:include href=\"{href}\"><xi:fallback>{}</xi:fallback></xi:include>{}",
            property("a", "fallback"),
            property("b", "after")
        )
    };
    let main = |content: String| ("hdfs-site.xml", document(&content));
    let ha = || ("ha.xml", document(&pair));
    vec![
        ("an included file", vec![main(include("ha.xml")), ha()]),
        (
            "between others",
            vec![
                main(property("a", "before") + &include("ha.xml") + &property("b", "after")),
                ha(),
            ],
        ),
        (
            "in a property",
            vec![
                main(format!(
                    "<property>{}<name>c</name><value>z</value></property>",
                    include("ha.xml")
                )),
                ha(),
            ],
        ),
        ("from a directory", vec![main(include("sub/x.xml")), ("sub/x.xml", document(&pair))]),
        (
            "from the directory, told below it",
            vec![main(include("sub/x.xml")), ("sub/x.xml", document(&include("ha.xml"))), ha()],
        ),
        (
            "in a chain",
            vec![
                main(include("1.xml")),
                ("1.xml", document(&(include("2.xml") + &property("a", "1")))),
                ("2.xml", document(&(property("a", "2") + &property("b", "2")))),
            ],
        ),
        ("twice", vec![main(include("ha.xml").repeat(2)), ha()]),
        ("a missing file", vec![main(include("gone.xml"))]),
        ("a fallback that is needed", vec![main(with_fallback("gone.xml"))]),
        ("a fallback that is not", vec![main(with_fallback("ha.xml")), ha()]),
        ("a file without properties", vec![main(include("ha.xml")), ("ha.xml", "<x/>".to_owned())]),
        ("no reference", vec![main("<xi:include/>".to_owned() + &pair)]),
        (
            "a final one",
            vec![
                main(include("ha.xml") + &property("a", "after")),
                ("ha.xml", document("<property name='a' value='x' final='true'/>")),
            ],
        ),
        ("the other file", vec![("core-site.xml", document(&include("ha.xml"))), ha()]),
        ("a file that is no XML", vec![main(include("ha.xml")), ("ha.xml", "<x>".to_owned())]),
    ]
}

/// Properties, references, final ones and inclusions as they come, some of them broken.
pub fn generated(random: &mut Random) -> Vec<(&'static str, String)> {
    const NAMES: [&str; 6] =
        ["a", "b", "dfs.replication", "fs.default.name", "fs.defaultFS", " a\n"];
    const VALUES: [&str; 12] = [
        "x",
        " y ",
        "${a}",
        "${b}:${a}",
        "${gone}",
        "",
        "<!-- c -->z",
        "<![CDATA[<]]>",
        "&amp;",
        "${fs.default.name}",
        "\n1\n",
        "${env.PATH}",
    ];
    let mut content = |with_includes: bool| {
        let mut content = String::new();
        for _ in 0..random.below(8) {
            let (name, value) = (random.pick(&NAMES), random.pick(&VALUES));
            let finals = ["", "", "<final>true</final>", "<final>false</final>"];
            let is_final = random.pick(&finals);
            let one = match random.below(6) {
                0 if with_includes => "<xi:include href='in.xml'/>".to_owned(),
                1 => {
                    format!("<property name='{}' value='v'>{is_final}</property>", name.trim())
                }
                2 => format!(
                    "<property>{is_final}<value>{value}</value><name>{name}</name></property>"
                ),
                _ => {
                    property(name, value).replace("</property>", &format!("{is_final}</property>"))
                }
            };
            content.push_str(&one);
        }
        document(&content)
    };
    vec![
        ("core-site.xml", content(true)),
        ("hdfs-site.xml", content(true)),
        ("in.xml", content(false)),
    ]
}
