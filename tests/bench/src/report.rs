//! The results: tables on standard output, all of it in a JSON file, plots beside it.

use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::plot::{self, Plot};
use crate::settings::Settings;
use crate::{machine, stats};

/// A table for people.
#[derive(Debug, Default)]
pub struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: &str, head: &[&str]) -> Self {
        let head = head.iter().map(ToString::to_string).collect();
        Self { title: title.to_owned(), head, rows: Vec::new() }
    }

    /// A further row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = format!("|{}\n", "---|".repeat(self.head.len()));
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}\n\n{}{rule}{rows}", self.title, line(&self.head))
    }
}

/// What a section has found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Its name.
    pub section: &'static str,
    /// For people.
    pub tables: Vec<Table>,
    /// What is to be known about the tables.
    pub notes: Vec<String>,
    /// For programs.
    pub data: Value,
    /// To look at.
    pub plots: Vec<Plot>,
    /// Requests that failed and events that are missing.
    pub failures: Vec<String>,
}

/// All of a run.
#[derive(Debug)]
pub struct Report {
    results: PathBuf,
    machine: Value,
    settings: Value,
    sections: Map<String, Value>,
    failures: Vec<String>,
}

impl Report {
    /// Says on what it runs.
    pub fn begin(settings: &Settings) -> Self {
        fs::create_dir_all(&settings.results).expect("make the directory of the results");
        let machine = machine::describe(settings);
        println!("## Benchmarks\n");
        for (what, value) in machine.as_object().into_iter().flatten() {
            println!("- {what}: {}", value.as_str().unwrap_or_default());
        }
        let settings_json = json!({
            "rounds": settings.rounds,
            "slice_seconds": settings.slice_seconds,
            "quick": settings.quick,
        });
        println!("- {} rounds of {} s", settings.rounds, settings.slice_seconds);
        if settings.quick {
            println!("- a quick run: its figures mean nothing");
        }
        Self {
            results: settings.results.clone(),
            machine,
            settings: settings_json,
            sections: Map::new(),
            failures: Vec::new(),
        }
    }

    /// Prints what a section has found, and saves it with all before.
    pub fn add(&mut self, outcome: Outcome) {
        println!("\n### {}", outcome.section);
        for table in &outcome.tables {
            print!("\n{}", table.markdown());
        }
        for note in &outcome.notes {
            println!("\n{note}");
        }
        for plot in &outcome.plots {
            if let Err(why) = plot::draw(plot, &self.results) {
                self.failures.push(format!("draw {}: {why}", plot.file));
            }
        }
        let failures = outcome.failures.into_iter();
        self.failures.extend(failures.map(|why| format!("{}: {why}", outcome.section)));
        self.sections.insert(outcome.section.to_owned(), outcome.data);
        self.save();
    }

    /// Says where the results are and what has failed; whether nothing has.
    pub fn finish(&self) -> bool {
        self.save();
        println!("\nresults: {}", self.results.join("results.json").display());
        for why in &self.failures {
            println!("FAILED: {why}");
        }
        self.failures.is_empty()
    }

    fn save(&self) {
        let all = json!({
            "machine": self.machine,
            "settings": self.settings,
            "sections": self.sections,
            "failures": self.failures,
        });
        let text = serde_json::to_string_pretty(&all).expect("numbers and texts are JSON");
        let path = self.results.join("results.json");
        fs::write(&path, text + "\n").unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    }
}

/// Milliseconds for people.
pub fn ms(value: f64) -> String {
    stats::decimal(value, if value < 10.0 { 2 } else { 1 })
}
