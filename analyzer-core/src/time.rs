//! Time stamps: nanoseconds since 1970-01-01 00:00:00 UTC in a signed 64-bit number (years 1677 to 2262).
//!
//! A's and B's stamps are of different clocks. Only `align::clock` may turn one into the other.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A moment, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// The earliest time stamp that is believed, in November 1968: captures of devices whose clock starts at the epoch, with
/// any time zone taken off. Earlier ones are held to it.
pub const EARLIEST: i64 = -(1 << 55);
/// The latest time stamp that is believed, in the year 2113 (a classic capture can say no later one than 2106). With these
/// bounds the difference of any two time stamps fits, and so does its sum with a third.
pub const LATEST: i64 = (1 << 62) - (1 << 56);

/// A time stamp of another clock: `time` less the difference of the clocks, within the bounds of time stamps.
#[inline]
pub const fn shifted(time: i64, offset: i64) -> i64 {
    let mapped = time.saturating_sub(offset);
    if mapped < EARLIEST {
        EARLIEST
    } else if mapped > LATEST {
        LATEST
    } else {
        mapped
    }
}

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const MILLISECOND: i64 = 1_000_000;
/// Nanoseconds in a microsecond.
pub const MICROSECOND: i64 = 1_000;

impl Time {
    /// Seconds from `earlier` to `self`.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / SECOND as f64
    }
}

/// A moment as a user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// `2026-11-21T00:52:07Z`, `2026-11-21 01:52:07.5+01:00`.
    At(Time),
    /// `+10s`, `+1.5m`: nanoseconds after the first packet.
    After(i64),
    /// `00:52:07`: nanoseconds of the day of the first packet (UTC), or of the day after when that was past by then.
    OfDay(i64),
}

/// Nanoseconds in a day.
const DAY: i64 = 86_400 * SECOND;

impl Moment {
    /// The moment in a capture whose first packet is at `first`.
    pub fn resolve(self, first: i64) -> i64 {
        match self {
            Self::At(time) => time.0,
            Self::After(span) => first.saturating_add(span),
            Self::OfDay(time) => {
                let of_day = first.rem_euclid(DAY);
                // The second of the first packet is not over: `--from 00:52:07` of a capture that begins at 00:52:07.3.
                let tomorrow = if time.saturating_add(SECOND) <= of_day { DAY } else { 0 };
                first.saturating_sub(of_day).saturating_add(time).saturating_add(tomorrow)
            }
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is no time: 2026-11-21T00:52:07Z, 00:52:07 (UTC) or +10s (after the first packet) are")
        };
        let text = text.trim();
        if let Some(span) = text.strip_prefix('+') {
            return span_of(span).map(Self::After).ok_or_else(wrong);
        }
        let Some((date, time)) = text.split_once(['T', 't', ' ']) else {
            return time_of_day(text).filter(|&time| time < DAY).map(Self::OfDay).ok_or_else(wrong);
        };
        instant(date, time.trim()).map(|time| Self::At(Time(time))).ok_or_else(wrong)
    }
}

/// `10`, `10s`, `250ms`, `1.5m`, `2h`: nanoseconds.
fn span_of(text: &str) -> Option<i64> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "" | "s" => SECOND,
        "us" => MICROSECOND,
        "ms" => MILLISECOND,
        "m" | "min" => 60 * SECOND,
        "h" => 3600 * SECOND,
        _ => return None,
    };
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i64 = whole.parse().ok()?;
    let part = fraction_of(fraction)? as i128 * i128::from(unit) / i128::from(SECOND);
    whole.checked_mul(unit)?.checked_add(i64::try_from(part).ok()?)
}

/// Digits behind a decimal point, in billionths.
fn fraction_of(digits: &str) -> Option<i64> {
    let plain = digits.len() <= 9 && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| format!("{digits:0<9}").parse().ok())?
}

/// `00:52`, `00:52:07`, `00:52:07.455`: nanoseconds of the day.
fn time_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let number = |part: &str, below: i64| {
        let digits = matches!(part.len(), 1 | 2) && part.bytes().all(|digit| digit.is_ascii_digit());
        digits.then(|| part.parse::<i64>().ok())?.filter(|&number| number < below)
    };
    let (hour, minute) = (number(parts.next()?, 24)?, number(parts.next()?, 60)?);
    let (second, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => {
            let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
            // A leap second is the second after, as in time stamps.
            (number(second, 61)?, fraction_of(fraction)?)
        }
    };
    parts.next().is_none().then_some(((hour * 60 + minute) * 60 + second) * SECOND + fraction)
}

/// The date and the time of RFC 3339; without an offset in UTC, as everything in the report.
fn instant(date: &str, time: &str) -> Option<i64> {
    let (time, offset) = match time.find(['Z', 'z', '+', '-']) {
        None => (time, 0),
        Some(place) if matches!(&time[place..], "Z" | "z") => (&time[..place], 0),
        Some(place) => {
            let sign = if time[place..].starts_with('-') { -1 } else { 1 };
            (&time[..place], sign * time_of_day(&time[place + 1..])?)
        }
    };
    let mut parts = date.split('-').map(|part| part.parse::<u32>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let possible = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !possible || parts.next().is_some() {
        return None;
    }
    let days = days_from_civil(i64::from(year), i64::from(month), i64::from(day));
    // The 31st of a month of 30 days.
    if civil_from_days(days) != (i64::from(year), i64::from(month), i64::from(day)) {
        return None;
    }
    days.checked_mul(DAY)?.checked_add(time_of_day(time.trim())?)?.checked_sub(offset)
}

/// The day of a proleptic Gregorian date, counted from 1970-01-01 (Howard Hinnant's `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// RFC 3339 in UTC with nanoseconds: `2026-11-21T00:52:07.455012000Z`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.div_euclid(SECOND), self.0.rem_euclid(SECOND));
        let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The proleptic Gregorian date of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc_3339_before_and_after_the_epoch() {
        assert_eq!(Time(0).to_string(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(Time(-1).to_string(), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(Time(1_709_210_096_000_000_005).to_string(), "2024-02-29T12:34:56.000000005Z");
        assert_eq!(Time(i64::MAX).to_string(), "2262-04-11T23:47:16.854775807Z");
    }

    #[test]
    fn reads_what_it_prints_and_what_people_write() {
        for time in [0, 1_709_210_096_000_000_005, 951_782_400_000_000_000] {
            assert_eq!(Time(time).to_string().parse(), Ok(Moment::At(Time(time))));
        }
        for (text, moment) in [
            ("2024-02-29T12:34:56Z", Moment::At(Time(1_709_210_096 * SECOND))),
            ("2024-02-29 12:34:56", Moment::At(Time(1_709_210_096 * SECOND))),
            ("2024-02-29t13:34:56.5+01:00", Moment::At(Time(1_709_210_096 * SECOND + SECOND / 2))),
            ("2024-02-29 07:04:56-05:30", Moment::At(Time(1_709_210_096 * SECOND))),
            ("+10", Moment::After(10 * SECOND)),
            ("+1.5m", Moment::After(90 * SECOND)),
            ("+250ms", Moment::After(SECOND / 4)),
            ("00:52:07.25", Moment::OfDay(3127 * SECOND + SECOND / 4)),
            ("23:59", Moment::OfDay(86_340 * SECOND)),
        ] {
            assert_eq!(text.parse(), Ok(moment), "{text}");
        }
        for wrong in
            ["", "+", "+s", "+5x", "+-5s", "10", "25:00", "1:2:3:4", "2024-02-30T00:00", "2024-13-01T00:00", "soon"]
        {
            assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_one_in_the_capture() {
        let first = 1_709_210_096 * SECOND + SECOND / 2;
        let of_day = |text: &str| text.parse::<Moment>().unwrap().resolve(first) - first;
        assert_eq!(of_day("12:35:56.5"), 60 * SECOND);
        assert_eq!(of_day("12:34:56"), -SECOND / 2);
        assert_eq!(of_day("00:00"), 41_103 * SECOND + SECOND / 2, "past midnight");
        assert_eq!(of_day("+3s"), 3 * SECOND);
    }
}
