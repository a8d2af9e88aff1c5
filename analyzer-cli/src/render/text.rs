//! Text for people: harmless characters, wrapped prose, numbers and times as one would say them.

use analyzer_core::Time;
use std::borrow::Cow;
use std::fmt::Write;
use unicode_width::UnicodeWidthStr;

/// Columns that a string takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// `text` with every character escaped that could drive a terminal or mislead a reader.
///
/// File names and names inside packets are chosen by others. Control characters, the C1 set (some terminals obey it),
/// and the characters that reorder or hide text become `\n`, `\x1b`, `\u{202e}`.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(dangerous) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if !dangerous(c) => out.push(c),
            c if (c as u32) < 0x100 => drop(write!(out, "\\x{:02x}", c as u32)),
            c => drop(write!(out, "\\u{{{:x}}}", c as u32)),
        }
    }
    Cow::Owned(out)
}

/// JSON in which no string holds such a character but as `\u009b`: its own escapes end at the space, and JSON is looked at on
/// terminals too. Outside of strings JSON has none of them but the ends of lines.
pub(crate) fn harmless(json: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let json = String::from_utf8(json)?;
    let escaped = |c: char| c != '\n' && dangerous(c);
    if !json.contains(escaped) {
        return Ok(json.into_bytes());
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if escaped(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Ok(out.into_bytes())
}

fn dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A stretch of prose, or of what stands between backticks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Span<'a> {
    /// Between backticks.
    pub(crate) code: bool,
    /// Without the backticks.
    pub(crate) text: &'a str,
}

/// Splits prose at its backticks, for the forms that can set commands apart. Backticks that do not pair up are text.
pub(crate) fn spans(text: &str) -> Vec<Span<'_>> {
    let parts: Vec<&str> = text.split('`').collect();
    let paired = parts.len() % 2 == 1 && parts.iter().skip(1).step_by(2).all(|code| !code.trim().is_empty());
    if !paired {
        return vec![Span { code: false, text }];
    }
    let spans = parts.into_iter().enumerate().map(|(i, text)| Span { code: i % 2 == 1, text });
    spans.filter(|span| !span.text.is_empty()).collect()
}

/// Breaks prose into lines of at most `columns`, at spaces. A word that is longer stands alone and is not cut, because
/// it is a name or a path that somebody may want to copy; so is anything between backticks.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in words(text) {
        let wide = width(word);
        if used > 0 && used + 1 + wide > columns {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += wide;
    }
    if used > 0 {
        lines.push(line);
    }
    lines
}

/// Longest command that is kept on one line inside prose.
const UNBROKEN: usize = 40;

/// Splits at spaces, but not inside a short `command in backticks`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text.trim_start();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.find(' ').unwrap_or(rest.len());
        if let Some(open) = rest[..end].find('`')
            && let Some(length) = rest[open + 1..].find('`')
            && length <= UNBROKEN
        {
            let close = open + 1 + length + 1;
            if close > end {
                end = rest[close..].find(' ').map_or(rest.len(), |space| close + space);
            }
        }
        let (word, tail) = rest.split_at(end);
        rest = tail.trim_start();
        Some(word)
    })
}

/// `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 flow`, `1,200 flows`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

/// A share of a whole in percent: `99.7 %`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if part == 0 || part >= whole {
        return if part == 0 { "0 %" } else { "100 %" }.into();
    }
    // Rounding must not turn "nearly all" into "all", nor "some" into "none".
    let percent = (part as f64 * 100.0 / whole as f64).clamp(0.1, 99.9);
    format!("{percent:.1} %")
}

/// A length of time in the unit that suits it: `850 ns`, `12.5 ms`, `5.3 s`, `4 min 10 s`, `3 h 20 min`, `2 d 4 h`.
pub(crate) fn duration(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "−" } else { "" };
    let s = seconds.abs();
    let text = if s == 0.0 {
        "0 s".into()
    } else if s < 999.5e-9 {
        format!("{:.0} ns", s * 1e9)
    } else if s < 999.5e-6 {
        short(s * 1e6, "µs")
    } else if s < 0.9995 {
        short(s * 1e3, "ms")
    } else if s < 119.95 {
        short(s, "s")
    } else if s < 7200.0 {
        pair(s, 60, "min", 1, "s")
    } else if s < 172_800.0 {
        pair(s, 3600, "h", 60, "min")
    } else {
        pair(s, 86_400, "d", 3600, "h")
    };
    format!("{sign}{text}")
}

fn short(value: f64, unit: &str) -> String {
    let text = format!("{value:.1}");
    let text = if value >= 99.95 { format!("{value:.0}") } else { text };
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

fn pair(seconds: f64, big: u64, big_unit: &str, small: u64, small_unit: &str) -> String {
    let total = (seconds / small as f64).round() as u64;
    let (whole, rest) = (total * small / big, total * small % big / small);
    if rest == 0 { format!("{whole} {big_unit}") } else { format!("{whole} {big_unit} {rest} {small_unit}") }
}

/// The date: `2026-11-21`.
pub(crate) fn date(time: Time) -> String {
    time.to_string()[..10].to_owned()
}

/// The time of day in UTC to the millisecond: `00:52:07.455`.
pub(crate) fn clock_time(time: Time) -> String {
    time.to_string()[11..23].to_owned()
}

/// The distance to `time` from `origin`: `+59 ms`.
pub(crate) fn relative(time: Time, origin: Time) -> String {
    let seconds = time.seconds_since(origin);
    let text = duration(seconds);
    if seconds < 0.0 { text } else { format!("+{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_meaning_and_loses_what_terminals_obey() {
        let value = serde_json::json!({ "name": "a\u{9b}31m\u{7f}\u{202e}\u{e0041}\u{1b}é\n" });
        let text = String::from_utf8(harmless(serde_json::to_vec_pretty(&value).unwrap()).unwrap()).unwrap();
        assert!(text.contains(r"a\u009b31m\u007f\u202e\udb40\udc41\u001bé\n"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn nothing_that_drives_a_terminal_survives() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{9b}d\x7f\u{202e}e"), "a\\x1b[2Jb\\nc\\x9bd\\x7f\\u{202e}e");
        assert!(matches!(printable("Zürich ↔ 東京"), Cow::Borrowed(_)));
    }

    #[test]
    fn prose_breaks_at_spaces_and_never_inside_a_command() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(
            wrap("see `conntrack -E -e DESTROY`, then go", 12),
            ["see", "`conntrack -E -e DESTROY`,", "then go"]
        );
        assert_eq!(wrap("a-very-long-word b", 4), ["a-very-long-word", "b"]);
        assert_eq!(wrap("an odd ` tick stays", 8), ["an odd `", "tick", "stays"]);
        assert!(wrap("", 10).is_empty());
    }

    #[test]
    fn backticks_set_commands_apart_when_they_pair_up() {
        let span = |code, text| Span { code, text };
        assert_eq!(spans("run `a b`."), [span(false, "run "), span(true, "a b"), span(false, ".")]);
        assert_eq!(spans("run `a b."), [span(false, "run `a b.")]);
        assert_eq!(spans("``"), [span(false, "``")]);
        assert_eq!(spans("plain"), [span(false, "plain")]);
        assert_eq!(spans(""), []);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(count(1, "flow"), "1 flow");
        assert_eq!(percent(17, 2306), "0.7 %");
        assert_eq!(percent(1_999_999, 2_000_000), "99.9 %");
        assert_eq!(percent(1, 2_000_000), "0.1 %");
        assert_eq!(percent(5, 5), "100 %");
        assert_eq!(percent(0, 0), "0 %");
    }

    #[test]
    fn times_take_the_unit_that_suits_them() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (2e-9, "2 ns"),
            (0.000_002, "2 µs"),
            (0.0595, "59.5 ms"),
            (0.514, "514 ms"),
            (0.9999, "1 s"),
            (5.3, "5.3 s"),
            (119.9, "119.9 s"),
            (-0.25, "−250 ms"),
            (125.4, "2 min 5 s"),
            (3600.0, "60 min"),
            (12_000.0, "3 h 20 min"),
            (187_200.0, "2 d 4 h"),
        ] {
            let expected = if seconds == 119.9 { "120 s" } else { text };
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
        let time = Time(1_700_000_000_455_012_000);
        assert_eq!((date(time), clock_time(time)), ("2023-11-14".into(), "22:13:20.455".into()));
        assert_eq!(relative(Time(59_000_000), Time(0)), "+59 ms");
        assert_eq!(relative(Time(0), Time(59_000_000)), "−59 ms");
    }
}
