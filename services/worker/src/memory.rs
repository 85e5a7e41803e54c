//! How much memory models may take.

use std::fs;

/// When the machine does not say how much memory it has.
const UNKNOWN_TOTAL: u64 = 8 << 30;

/// Half of the memory this process may use: the machine's, or its control group's where that is less.
pub(crate) fn cpu_budget() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo_total(&text));
    let group =
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let total = [machine, group].into_iter().flatten().min().unwrap_or(UNKNOWN_TOTAL);
    total / 2
}

fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_is_read_from_meminfo() {
        let text = "MemTotal:       24612880 kB\nMemFree:        21000000 kB\n";
        assert_eq!(meminfo_total(text), Some(24_612_880 * 1024));
        assert_eq!(meminfo_total("MemFree: 1 kB"), None);
    }

    #[test]
    fn budget_is_never_nothing() {
        assert!(cpu_budget() > 0);
    }
}
