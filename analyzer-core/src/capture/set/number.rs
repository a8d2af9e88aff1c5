//! Files missing from a set, by the numbers in their names.

use super::members::Waiting;
use std::path::Path;

/// The numbers in a file name.
fn numbers(path: &Path) -> (Vec<u64>, String) {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let (mut numbers, mut text, mut digits) = (Vec::new(), String::new(), String::new());
    for c in name.chars().chain(['.']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            numbers.push(digits.parse().unwrap_or(u64::MAX));
            digits.clear();
            text.push('0');
        }
        text.push(c);
    }
    (numbers, text)
}

/// Finds the number in the names that goes up by one from file to file, and what is missing of its row. A ring that has
/// gone round starts over, which is no gap.
pub(super) fn number(files: &mut [Waiting]) {
    let names: Vec<(Vec<u64>, String)> = files.iter().map(|file| numbers(&file.path)).collect();
    let steps = |place: usize| -> Vec<Option<u64>> {
        let step = |pair: &[(Vec<u64>, String)]| {
            let alike = pair[0].1 == pair[1].1;
            let (before, after) = (pair[0].0.get(place)?, pair[1].0.get(place)?);
            alike.then(|| after.checked_sub(*before))?
        };
        names.windows(2).map(step).collect()
    };
    let places = names.iter().map(|name| name.0.len()).max().unwrap_or(0);
    let count = |row: &[Option<u64>], fits: fn(u64) -> bool| row.iter().flatten().filter(|step| fits(**step)).count();
    let rows = (0..places).rev().map(steps).map(|row| {
        // A date may go up by one as often, but it also stands still.
        let quality = (count(&row, |step| step == 1), count(&row, |step| step > 0));
        (quality, row)
    });
    let Some(((regular, _), row)) = rows.max_by_key(|row| row.0) else { return };
    // Two thirds of the steps, so that a single date in the names is not taken for a number.
    if regular < 2 || regular * 3 < row.iter().flatten().count() * 2 {
        return;
    }
    for (file, step) in files.iter_mut().skip(1).zip(row) {
        file.missing = step.unwrap_or(0).saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn missing(names: &[&str]) -> Vec<u64> {
        let mut files: Vec<Waiting> =
            names.iter().map(|name| Waiting { path: PathBuf::from(name), first: 0, size: 0, missing: 0 }).collect();
        number(&mut files);
        files.iter().map(|file| file.missing).collect()
    }

    #[test]
    fn files_missing_from_a_ring_are_counted_by_their_numbers() {
        assert_eq!(missing(&["r3", "r4", "r0", "r1", "r2"]), [0; 5], "a ring that went round");
        assert_eq!(missing(&["r.pcap", "r.pcap1", "r.pcap2", "r.pcap4", "r.pcap5"]), [0, 0, 0, 1, 0]);
        assert_eq!(
            missing(&[
                "x_00007_20260101",
                "x_00008_20260101",
                "x_00009_20260102",
                "x_00013_20260102",
                "x_00014_20260103"
            ]),
            [0, 0, 0, 3, 0]
        );
        assert_eq!(missing(&["x-0100", "x-0200", "x-0500"]), [0; 3], "times are no row");
        assert_eq!(missing(&["a1", "b9"]), [0; 2]);
        assert_eq!(missing(&["r_0_26", "r_2_26", "r_3_27", "r_4_28"]), [0, 1, 0, 0], "the date goes up as often");
    }
}
