//! How much memory the analysis may use: `--memory`, else a quarter of what the system has or lets this program have.

use std::fs;

/// The share of the memory that is taken unasked: whoever looks at captures does so beside other work.
const SHARE: u64 = 4;
/// The smallest limit that can be kept: buffers and windows alone take half of it.
pub(crate) const LEAST: u64 = 64 << 20;

/// A size such as `256M`, `2G` or `1.5GiB`; units are powers of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "expected a size such as 512M or 4G".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.trim().to_ascii_lowercase();
    let unit: u64 = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(wrong()),
    };
    let bytes = number * unit as f64;
    if bytes < LEAST as f64 {
        return Err(format!("needs {}M at least", LEAST >> 20));
    }
    Ok(bytes as u64)
}

/// A quarter of the memory there is; nothing where the system does not say, and the library's own limit holds.
pub(crate) fn usual() -> Option<u64> {
    let total = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(total)?;
    // A container may have less (control groups, version 2 and 1).
    let granted = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .find_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok())
        .unwrap_or(u64::MAX);
    Some((total.min(granted) / SHARE).max(LEAST))
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in
            [("67108864", 64 << 20), ("256M", 256 << 20), ("2g", 2 << 30), ("1.5GiB", 3 << 29), ("64 MB", 64 << 20)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "M", "4X", "-1G", "63M", "1e9", "4GG"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_total_is_in_kilobytes() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       24576 kB\n"), Some(24576 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
    }
}
