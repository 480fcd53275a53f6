//! Files with a document type: entities of other files, entities of its own, and what is no XML.

use super::cases::{Case, document, property, typed};

fn whole(text: String) -> Vec<(&'static str, String)> {
    vec![("hdfs-site.xml", text)]
}

fn pair() -> String {
    property("a", "x") + &property("b", "y &amp; z")
}

pub fn entities_of_files() -> Vec<Case> {
    vec![
        (
            "an external entity",
            vec![
                ("hdfs-site.xml", typed("[<!ENTITY ha SYSTEM \"ha.xml\">]", "&ha;")),
                ("ha.xml", pair()),
            ],
        ),
        (
            "an external entity with a declaration and carriage returns",
            vec![
                ("hdfs-site.xml", typed("[<!ENTITY ha SYSTEM \"ha.xml\">]", "&ha;")),
                (
                    "ha.xml",
                    format!("<?xml version='1.0' encoding='UTF-8'?>{}", pair())
                        .replace('\n', "\r\n"),
                ),
            ],
        ),
        (
            "a public one",
            vec![
                ("hdfs-site.xml", typed("[<!ENTITY ha PUBLIC 'p' 'ha.xml'>]", "&ha;")),
                ("ha.xml", pair()),
            ],
        ),
        (
            "an external entity for a value",
            vec![
                (
                    "hdfs-site.xml",
                    typed("[<!ENTITY h SYSTEM 'h.txt'>]", &property("a", "&h;:8020")),
                ),
                ("h.txt", "host1".to_owned()),
            ],
        ),
        ("one that is missing", whole(typed("[<!ENTITY ha SYSTEM 'gone.xml'>]", "&ha;"))),
        (
            "one that is missing and not wanted",
            whole(typed("[<!ENTITY ha SYSTEM 'gone.xml'>]", &format!("<!-- &ha; -->{}", pair()))),
        ),
        (
            "a document type in a file",
            vec![
                ("hdfs-site.xml", typed("SYSTEM 'site.dtd'", &property("a", "&e;"))),
                ("site.dtd", "<!ENTITY e 'from the file'>".to_owned()),
            ],
        ),
        (
            "a parameter entity",
            vec![
                (
                    "hdfs-site.xml",
                    typed("[<!ENTITY % all SYSTEM 'all.ent'> %all;]", &property("a", "&e;")),
                ),
                ("all.ent", "<!ENTITY e 'from the file'>".to_owned()),
            ],
        ),
    ]
}

pub fn entities_within() -> Vec<Case> {
    vec![
        (
            "an internal entity",
            whole(typed(
                "[<!ENTITY host 'nn1'><!ENTITY port \"8020\"><!ENTITY both '&host;:&port;'>]",
                &(property("a", "&both;") + "<property name='b' value='&both;'/>"),
            )),
        ),
        (
            "an entity of elements",
            whole(typed(
                "[<!ENTITY p '<property><name>a</name><value>x</value></property>'>]",
                "&p;",
            )),
        ),
        (
            "characters in an entity",
            whole(typed("[<!ENTITY c '&#38;#38;&#65;&#60;b/&#62;'>]", &property("a", "&c;"))),
        ),
        (
            "quotes in an entity",
            whole(typed("[<!ENTITY q '\"'>]", "<property name='a' value=\"x&q;y\"/>")),
        ),
        (
            "a name declared twice",
            whole(typed("[<!ENTITY e 'first'><!ENTITY e 'second'>]", &property("a", "&e;"))),
        ),
        (
            "an entity that is not declared",
            whole(typed("[<!ENTITY e 'x'>]", &property("a", "&f;"))),
        ),
        (
            "an entity in CDATA",
            whole(typed("[<!ENTITY e 'x'>]", &property("a", "<![CDATA[&e;]]>&e;"))),
        ),
        (
            "other declarations",
            whole(typed(
                "[<!ELEMENT configuration ANY><!-- > ' --><?x y?><!NOTATION n SYSTEM 'n'>\
             <!ENTITY e 'x'>]",
                &property("a", "&e;"),
            )),
        ),
    ]
}

pub fn odd_documents() -> Vec<Case> {
    vec![
        ("a document type without declarations", whole(typed("", &pair()))),
        (
            "a circle of entities",
            whole(typed("[<!ENTITY a '&b;'><!ENTITY b '&a;'>]", &property("a", "&a;"))),
        ),
        ("an element that does not end", whole("<configuration><property>".to_owned())),
        ("no XML", whole("dfs.replication=2".to_owned())),
        ("an empty file", whole(String::new())),
        (
            "an undeclared prefix",
            whole("<configuration><xi:include href='x'/></configuration>".into()),
        ),
        ("a byte order mark", whole(format!("\u{feff}{}", document(&pair())))),
    ]
}
