//! Which directory an event belongs to: a strftime template of its timestamp.

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use sewer_wal::event::TIMESTAMPS_MS;

use crate::destination::refused_by_hdfs;

/// Turns timestamps into partition directories.
#[derive(Clone, Debug)]
pub struct Partitions {
    template: String,
    timezone: TimeZone,
    /// The second asked for last and its directory: events come in the order of time, nearly.
    last: Option<(i64, String)>,
}

impl Partitions {
    /// Takes the template apart. `%{host}` and `%{wal_id}` stand for the given names, everything
    /// else with `%` is strftime.
    ///
    /// # Errors
    /// One line that names the key and what is wrong with it.
    pub fn new(template: &str, timezone: &str, host: &str, wal_id: &str) -> Result<Self, String> {
        let timezone = TimeZone::get(timezone).map_err(|_| {
            format!(
                "key `destination.timezone`: \"{timezone}\" is no IANA time zone, such as UTC or Europe/Berlin"
            )
        })?;
        let escaped = |name: &str| name.replace('%', "%%");
        let filled =
            template.replace("%{host}", &escaped(host)).replace("%{wal_id}", &escaped(wal_id));
        let partitions = Self { template: filled, timezone, last: None };
        let sample = partitions
            .of_second(0)
            .map_err(|e| format!("key `destination.path`: \"{template}\": {e}"))?;
        let sound = sample.starts_with('/')
            && sample[1..].split('/').all(|name| !name.is_empty() && name != "." && name != "..");
        if !sound {
            return Err(format!(
                "key `destination.path`: \"{template}\" must be absolute, without empty names, `.` or `..`, and not end with `/`"
            ));
        }
        if let Some(why) = refused_by_hdfs(&sample) {
            return Err(format!(
                "key `destination.path`: \"{template}\" makes names such as \"{sample}\": {why}"
            ));
        }
        Ok(partitions)
    }

    /// The directory of an event of that time.
    pub fn directory(&mut self, timestamp_ms: i64) -> &str {
        // No event is read that has another time.
        let timestamp_ms = timestamp_ms.clamp(*TIMESTAMPS_MS.start(), *TIMESTAMPS_MS.end());
        let second = timestamp_ms.div_euclid(1000);
        if self.last.as_ref().is_none_or(|(last, _)| *last != second) {
            let directory = self.of_second(second);
            self.last = Some((second, directory.expect("it was tried, and the calendar has it")));
        }
        self.last.as_ref().map_or("", |(_, directory)| directory)
    }

    fn of_second(&self, second: i64) -> Result<String, jiff::Error> {
        let time = Timestamp::from_second(second)?.to_zoned(self.timezone.clone());
        strtime::format(&self.template, &time)
    }
}

/// The directories of the template before the first that depends on the event.
pub(crate) fn fixed_part(template: &str) -> String {
    let fixed: Vec<_> = template.split('/').take_while(|name| !name.contains('%')).collect();
    match fixed.join("/") {
        path if path.is_empty() => "/".to_owned(),
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(template: &str, timezone: &str, timestamp_ms: i64) -> String {
        let mut partitions = Partitions::new(template, timezone, "web-1", "00ff").unwrap();
        partitions.directory(timestamp_ms).to_owned()
    }

    #[test]
    fn a_directory_follows_the_time_of_the_event() {
        let hour = "/sewer/%Y-%m-%d/%H";
        assert_eq!(directory(hour, "UTC", 1_700_000_000_000), "/sewer/2023-11-14/22");
        assert_eq!(directory(hour, "UTC", -1), "/sewer/1969-12-31/23");
        assert_eq!(directory("/a/%{host}/%{wal_id}/%j", "UTC", 0), "/a/web-1/00ff/001");
    }

    #[test]
    fn the_hour_that_comes_twice_in_autumn_is_one_directory() {
        // 2023-10-29 in Berlin: 02:30 summer time, and an hour later 02:30 again.
        for timestamp_ms in [1_698_539_400_000, 1_698_543_000_000] {
            assert_eq!(directory("/%Y-%m-%d/%H", "Europe/Berlin", timestamp_ms), "/2023-10-29/02");
        }
    }

    #[test]
    fn every_time_that_an_event_can_have_has_a_directory_in_every_time_zone() {
        let directives = (b'!'..=b'~').map(|byte| format!("/%{}", byte as char));
        let templates: Vec<_> = directives
            .filter(|template| Partitions::new(template, "UTC", "h", "i").is_ok())
            .collect();
        for known in ["/%Y", "/%y", "/%G", "/%g", "/%C", "/%j", "/%z", "/%s"] {
            assert!(templates.iter().any(|template| template == known), "{known}");
        }
        let all = templates.concat();
        let zones: Vec<_> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        assert!(zones.len() > 400, "{zones:?}");
        for zone in zones.iter().map(String::as_str).chain(["Etc/GMT+12", "Etc/GMT-14"]) {
            let mut partitions = Partitions::new(&all, zone, "h", "i").unwrap();
            let (first, last) = (*TIMESTAMPS_MS.start(), *TIMESTAMPS_MS.end());
            for time in [first, first + 1, -1, 0, 4_102_444_800_000, last - 1, last] {
                let directory = partitions.directory(time).to_owned();
                assert!(directory.starts_with('/'), "{zone} at {time}: {directory}");
            }
            for (beyond, edge) in [(i64::MIN, first), (i64::MAX, last)] {
                let edge = partitions.directory(edge).to_owned();
                assert_eq!(partitions.directory(beyond), edge, "{zone}");
            }
        }
    }

    #[test]
    fn a_template_that_cannot_be_used_is_named() {
        for template in ["sewer/%H", "/a//b", "/a/../b", "/a/", "/%!", ""] {
            let error = Partitions::new(template, "UTC", "h", "i").unwrap_err();
            assert!(error.starts_with("key `destination.path`"), "{error}");
        }
        let long = format!("/{}", "x".repeat(256));
        for template in
            ["/%T", "/%R", "/%H:00", "/%:z", "/%c", "/a/.snapshot/%H", "/.reserved/%H", &long]
        {
            let error = Partitions::new(template, "UTC", "h", "i").unwrap_err();
            assert!(error.starts_with("key `destination.path`"), "{error}");
            assert!(error.contains(template) && error.contains("HDFS"), "{error}");
        }
        let error = Partitions::new("/%H", "Mars/Base", "h", "i").unwrap_err();
        assert!(error.starts_with("key `destination.timezone`: \"Mars/Base\""), "{error}");
    }

    #[test]
    fn the_probe_goes_where_every_partition_is() {
        assert_eq!(fixed_part("/sewer/%Y-%m-%d/%H"), "/sewer");
        assert_eq!(fixed_part("/%Y"), "/");
        assert_eq!(fixed_part("/a/b/c-%H/d"), "/a/b");
    }
}
