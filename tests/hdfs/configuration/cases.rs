//! Files with one property of the format each: elements and attributes, what is final, what refers
//! to other properties.

use super::GONE;

/// Files by name, and what it is about.
pub type Case = (&'static str, Vec<(&'static str, String)>);

pub fn document(content: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<?xml-stylesheet type=\"text/xsl\" \
         href=\"configuration.xsl\"?>\n<!-- ours -->\n<configuration \
         xmlns:xi=\"http://www.w3.org/2001/XInclude\">\n{content}\n</configuration>\n"
    )
}

pub fn property(name: &str, value: &str) -> String {
    format!("  <property>\n    <name>{name}</name>\n    <value>{value}</value>\n  </property>\n")
}

/// A document type, and the document.
pub fn typed(declarations: &str, content: &str) -> String {
    document(content).replace("<!-- ours -->", &format!("<!DOCTYPE configuration {declarations}>"))
}

pub fn only(content: &str) -> Vec<(&'static str, String)> {
    vec![("hdfs-site.xml", document(content))]
}

pub fn plain_cases() -> Vec<Case> {
    let address = "dfs.namenode.rpc-address.ns.nn1";
    vec![
        ("one property", only(&property(address, "host1:8020"))),
        ("no property", only("")),
        ("line breaks around a value", only(&property(address, "\n      host1:8020\n    "))),
        ("blanks around a name", only(&property(&format!("\n  {address}\t "), "host1:8020"))),
        ("a comment within a value", only(&property(address, "<!-- old -->host1<!-- x -->:8020"))),
        ("a comment within a name", only(&property("dfs.<!-- x -->replication", "2"))),
        ("CDATA", only(&property(address, "<![CDATA[host1:8020]]>"))),
        ("CDATA among text", only(&property(address, "a<![CDATA[<&>]]>b"))),
        ("an instruction within a value", only(&property(address, "a<?x y?>b"))),
        ("an element within a value", only(&property(address, "a<b>c</b>d"))),
        ("entities of XML", only(&property(address, "&lt;&amp;&#65;&#x42;&quot;&gt;"))),
        ("an empty value", only(&(property("a", "x") + &property("a", "")))),
        ("no value", only("<property><name>a</name></property>")),
        ("no name", only("<property><value>a</value></property>")),
        ("an empty name", only("<property><name></name><value>a</value></property>")),
        ("attributes", only("<property name='a' value=' x '/>")),
        ("attributes with blanks in the name", only("<property name=' a ' value='x'/>")),
        (
            "attributes and elements",
            only("<property name='a' value='x'><value>y</value></property>"),
        ),
        (
            "attributes and an empty element",
            only("<property name='a' value='x'><value/></property>"),
        ),
        ("value before name", only("<property><value>x</value><name>a</name></property>")),
        ("two values", only("<property><name>a</name><value>x</value><value>y</value></property>")),
        ("two names", only("<property><name>a</name><name>b</name><value>y</value></property>")),
        (
            "a property in a property",
            only(
                "<property><name>a</name><property><name>b</name><value>y</value></property>\
             <value>x</value></property>",
            ),
        ),
        (
            "a property below another element",
            only(&format!("<group>{}</group>", property("a", "x"))),
        ),
        ("text between properties", only(&format!("text{}text", property("a", "x")))),
        ("another root", vec![("hdfs-site.xml", property("a", "x"))]),
        ("a value of its own", only("<value>x</value><property><name>a</name></property>")),
        ("twice", only(&(property("a", "x") + &property("a", "y")))),
        (
            "tags and sources",
            only(
                "<property><name>a</name><value>x</value><source>s</source><tag>T,U</tag>\
             <description>A <b>bold</b> word.</description></property>",
            ),
        ),
        ("no file at all", vec![]),
        ("upper case", only("<Property><Name>a</Name><Value>x</Value></Property>")),
        (
            "another namespace",
            only("<p:property xmlns:p='p'><p:name>a</p:name><p:value>x</p:value></p:property>"),
        ),
        (
            "carriage returns",
            vec![(
                "hdfs-site.xml",
                document(&property(address, "\nhost1:8020\n")).replace('\n', "\r\n"),
            )],
        ),
        ("characters of the world", only(&property("a.é", "日本 \u{1F600}"))),
    ]
}

pub fn final_cases() -> Vec<Case> {
    let is_final = |value: &str, text: &str| {
        format!("<property><name>a</name><value>{value}</value><final>{text}</final></property>")
    };
    let both = |core: &str, hdfs: &str| {
        vec![("core-site.xml", document(core)), ("hdfs-site.xml", document(hdfs))]
    };
    vec![
        ("the later file", both(&property("a", "core"), &property("a", "hdfs"))),
        ("a final one", both(&is_final("core", "true"), &property("a", "hdfs"))),
        ("not final", both(&is_final("core", "false"), &property("a", "hdfs"))),
        ("final with blanks", both(&is_final("core", " true "), &property("a", "hdfs"))),
        ("final in capitals", both(&is_final("core", "TRUE"), &property("a", "hdfs"))),
        (
            "final by attribute",
            both("<property name='a' value='core' final='true'/>", &property("a", "hdfs")),
        ),
        ("final in the same file", only(&(is_final("first", "true") + &property("a", "second")))),
        ("final without a value", both(&is_final("", "true"), &property("a", "hdfs"))),
        (
            "a final value that is referred to",
            both(&(is_final("core", "true") + &property("b", "${a}")), &property("a", "hdfs")),
        ),
    ]
}

pub fn reference_cases() -> Vec<Case> {
    let with = |value: &str| {
        only(
            &(property("value", value)
                + &property("host", "nn1")
                + &property("port", "8020")
                + &property("address", "${host}:${port}")
                + &property("self", "a${self}b")
                + &property("ping", "${pong}")
                + &property("pong", "${ping}")
                + &property("spaced", " x ")
                + &property("env.own", "of a property")),
        )
    };
    let environment = format!("${{env.{GONE}}}|${{env.{GONE}:-d}}|${{env.{GONE}-e}}|${{env.PATH}}");
    vec![
        ("a property", with("${host}:${port}")),
        ("a property that refers to others", with("${address}/${spaced}")),
        ("the environment", with(&environment)),
        ("defaults of the environment", with(&format!("${{env.{GONE}:-${{host}}}}"))),
        ("a variable with a default that it does not need", with("${env.PATH:-x}${env.PATH-y}")),
        ("a property that looks like the environment", with("${env.own}")),
        ("the user", with("${user.name} ${user.home} ${user.dir} ${java.io.tmpdir}")),
        ("separators", with("${file.separator}${path.separator}")),
        ("nothing", with("${no.such.property}${host}")),
        ("nothing behind something", with("${host}${no.such.property}${port}")),
        ("itself", with("${self}")),
        ("a circle", with("${ping}")),
        ("too many", with(&"${host}".repeat(25))),
        ("as many as there may be", with(&"${host}".repeat(19))),
        ("one too many", with(&"${host}".repeat(20))),
        ("odd ones", with("${} ${a b} $host {host} ${${host}} $${host} ${host ${ho$st} ${host}}")),
        ("a brace at the end", with("x${")),
        ("world", with("é${host}日${port}")),
        (
            "an old name",
            only(
                &(property("fs.default.name", "hdfs://old")
                    + &property("a", "${fs.default.name}")
                    + &property("b", "${fs.defaultFS}")),
            ),
        ),
        (
            "an old name and a new one",
            only(
                &(property("fs.defaultFS", "hdfs://new")
                    + &property("fs.default.name", "hdfs://old")),
            ),
        ),
        (
            "old names",
            only(
                &(property("dfs.federation.nameservices", "a,b")
                    + &property("dfs.block.size", "1")
                    + &property("dfs.socket.timeout", "2")
                    + &property("dfs.encryption.key.provider.uri", "kms://http@h:9600/kms")),
            ),
        ),
    ]
}
