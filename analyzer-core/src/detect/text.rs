//! Numbers as a person writes them.

use crate::point::Point;
use crate::time::{SECOND, Time};

/// `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 packet`, `17 packets`.
pub fn counted(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{} {noun}s", count(n)) }
}

/// A share as percent with the digits that matter: `0.07 %`, `1.7 %`, `35 %`.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".into();
    }
    let share = part as f64 / whole as f64 * 100.0;
    if share >= 10.0 || share == 0.0 {
        format!("{share:.0} %")
    } else if share >= 1.0 {
        format!("{share:.1} %")
    } else {
        format!("{share:.2} %")
    }
}

/// A duration in nanoseconds: `17 µs`, `3.2 ms`, `1.5 s`, `4 min 10 s`.
pub fn duration(nanoseconds: i64) -> String {
    let seconds = nanoseconds as f64 / SECOND as f64;
    let size = seconds.abs();
    if size < 0.001 {
        format!("{:.0} µs", seconds * 1e6)
    } else if size < 1.0 {
        // Three digits are as much as anybody reads.
        let milliseconds = seconds * 1e3;
        let text = match milliseconds.abs() {
            whole if whole >= 99.95 => format!("{milliseconds:.0}"),
            tenths if tenths >= 9.995 => format!("{milliseconds:.1}"),
            _ => format!("{milliseconds:.2}"),
        };
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        format!("{text} ms")
    } else if size < 120.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = size.round() as u64;
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

/// A capture point in a sentence.
pub fn point_name(point: Point) -> &'static str {
    match point {
        Point::A => "A",
        Point::B => "B",
    }
}

/// A MAC: `52:54:00:aa:00:01`.
pub fn mac_text(mac: u64) -> String {
    let bytes = mac.to_be_bytes();
    bytes[2..].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// The time of day, to the millisecond: `00:52:07.455`.
pub fn clock_time(time: Time) -> String {
    time.to_string().get(11..23).unwrap_or_default().to_owned()
}

/// A capture point in a sentence.
pub const fn letter(point: Point) -> &'static str {
    match point {
        Point::A => "A",
        Point::B => "B",
    }
}

/// A count and its noun with the plural's own form: `1 reply`, `2 replies`.
pub fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_as_people_do() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "flow"), "1 flow");
        assert_eq!(counted(1200, "packet"), "1,200 packets");
        assert_eq!(
            (percent(28, 1400), percent(1, 1400), percent(1, 2)),
            ("2.0 %".into(), "0.07 %".into(), "50 %".into())
        );
        assert_eq!(duration(17_000), "17 µs");
        assert_eq!(duration(3_200_000), "3.2 ms");
        assert_eq!([59_125_000, 218_104_000, 8_000_000].map(duration), ["59.1 ms", "218 ms", "8 ms"]);
        assert_eq!(duration(1_500_000_000), "1.5 s");
        assert_eq!(duration(250 * SECOND), "4 min 10 s");
        assert_eq!(clock_time(Time(0)), "00:00:00.000");
    }
}
