//! A daemon's `/metrics`, read strictly.

use std::collections::{BTreeMap, BTreeSet};

use crate::http;

/// The samples by name and labels, as they are written: `name{label="value"}`.
pub type Samples = BTreeMap<String, f64>;

/// Asks the status port at `address`.
///
/// # Panics
/// If it does not answer, or not with well-formed metrics.
pub fn get(address: &str) -> Samples {
    let response = http::get(address, "/metrics").unwrap_or_else(|e| panic!("GET /metrics: {e}"));
    assert_eq!(response.status, 200, "{}", response.head);
    let content_type = response.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    parse(&response.body).unwrap_or_else(|why| panic!("{why}\n{}", response.body))
}

/// Reads Prometheus' text format.
///
/// # Errors
/// A sample without a type, without a help text, twice, or that is no number; a histogram whose
/// buckets do not add up.
pub fn parse(text: &str) -> Result<Samples, String> {
    let mut samples = Samples::new();
    let (mut helped, mut types) = (BTreeSet::new(), BTreeMap::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap_or((help, ""));
            if words.is_empty() || !helped.insert(name) {
                return Err(format!("no help, or help given twice: {line}"));
            }
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or_else(|| format!("no type: {line}"))?;
            if types.insert(name, kind).is_some() {
                return Err(format!("a type given twice: {line}"));
            }
        } else {
            let (sample, value) = line.rsplit_once(' ').ok_or_else(|| format!("odd: {line}"))?;
            let name = sample.split('{').next().unwrap_or_default();
            let family = family(name, &types).ok_or_else(|| format!("no type for: {line}"))?;
            if !helped.contains(family) {
                return Err(format!("no help for: {line}"));
            }
            let value = value.parse().map_err(|_| format!("no number: {line}"))?;
            if samples.insert(sample.to_owned(), value).is_some() {
                return Err(format!("a sample given twice: {line}"));
            }
        }
    }
    for (name, _) in types.iter().filter(|(_, kind)| **kind == "histogram") {
        check_histogram(name, &samples)?;
    }
    Ok(samples)
}

/// The name that HELP and TYPE give to what a sample belongs to.
fn family<'a>(name: &'a str, types: &BTreeMap<&str, &str>) -> Option<&'a str> {
    if types.get(name).is_some_and(|kind| *kind != "histogram") {
        return Some(name);
    }
    let of_histogram = ["_bucket", "_sum", "_count"].iter();
    let mut families = of_histogram.filter_map(|suffix| name.strip_suffix(suffix));
    families.find(|family| types.get(family) == Some(&"histogram"))
}

fn check_histogram(name: &str, samples: &Samples) -> Result<(), String> {
    let bound = |sample: &str| -> Option<f64> {
        sample.strip_prefix(&format!("{name}_bucket{{le=\""))?.strip_suffix("\"}")?.parse().ok()
    };
    let mut buckets: Vec<_> =
        samples.iter().filter_map(|(sample, count)| Some((bound(sample)?, *count))).collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = samples.get(&format!("{name}_count")).copied();
    let rising = buckets.windows(2).all(|two| two[0].1 <= two[1].1);
    match buckets.last() {
        Some((last, count)) if last.is_infinite() && Some(*count) == total && rising => Ok(()),
        _ => Err(format!("the buckets of {name} do not add up to {total:?}: {buckets:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "# HELP a_total A.\n# TYPE a_total counter\na_total{code=\"204\"} 2\n\
        # HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 9\n\
        h_count 3\n";

    #[test]
    fn well_formed_metrics_are_read() {
        let samples = parse(SOUND).unwrap();
        assert!((samples["a_total{code=\"204\"}"] - 2.0).abs() < f64::EPSILON);
        assert_eq!(samples.len(), 5);
    }

    #[test]
    fn malformed_metrics_are_refused() {
        for (sound, broken) in [
            ("# TYPE a_total counter\n", ""),
            ("# HELP a_total A.\n", ""),
            ("} 2\n", "} two\n"),
            ("h_count 3", "h_count 4"),
            ("\"1\"} 1", "\"1\"} 4"),
            ("h_sum 9\n", "h_sum 9\nh_sum 9\n"),
        ] {
            assert!(parse(&SOUND.replacen(sound, broken, 1)).is_err(), "{broken:?}");
        }
    }
}
