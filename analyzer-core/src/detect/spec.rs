//! What a detector says of itself.

use super::scene::Scene;
use crate::report::Severity;
use crate::time::SECOND;
use crate::witness::sysctl::Setting;

/// What a timer of the kernel may fall short of its seconds, as the captures see it.
const JIFFIES: f64 = 0.1;

/// A threshold that a user may set by name.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Threshold {
    /// `detector.quantity`.
    pub name: &'static str,
    /// Its unit, in words.
    pub unit: &'static str,
    /// Its value unless the user sets another.
    pub default: f64,
    /// Where the value comes from.
    pub source: &'static str,
}

impl Threshold {
    /// A threshold: `detector.quantity`, its unit in words, its value unless the user sets another, and where that comes
    /// from.
    pub const fn new(name: &'static str, unit: &'static str, default: f64, source: &'static str) -> Self {
        Self { name, unit, default, source }
    }
}

/// What a detector says of itself.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Spec {
    /// Its id, as in findings.
    pub id: &'static str,
    /// What it says, in half a sentence.
    pub says: &'static str,
    /// Its causes; empty when it has none.
    pub causes: &'static [&'static str],
    /// The worst severity that it reports.
    pub severity: Severity,
    /// Its thresholds.
    pub thresholds: &'static [Threshold],
    /// The text of its file, whose head is what `explain` prints.
    pub source: &'static str,
}

impl Spec {
    /// A detector of this id, that says this, and at worst with this severity. It has no causes and no thresholds.
    pub const fn new(id: &'static str, says: &'static str, severity: Severity) -> Self {
        Self { id, says, causes: &[], severity, thresholds: &[], source: "" }
    }

    /// The causes that it tells apart.
    #[must_use]
    pub const fn causes(mut self, causes: &'static [&'static str]) -> Self {
        self.causes = causes;
        self
    }

    /// Its thresholds, which [`Options::thresholds`](crate::Options::thresholds) may change. Their names begin with its id.
    #[must_use]
    pub const fn thresholds(mut self, thresholds: &'static [Threshold]) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// The text of its file: `include_str!("telnet.rs")`. Its head is its [documentation](Self::doc).
    #[must_use]
    pub const fn source(mut self, source: &'static str) -> Self {
        self.source = source;
        self
    }

    /// What it is, how it looks in a pair, what is mistaken for it, what to do: the head of its file.
    pub fn doc(&self) -> String {
        let mut text = String::new();
        for line in self.source.lines() {
            let Some(line) = line.strip_prefix("//!") else { break };
            text.push_str(line.strip_prefix(' ').unwrap_or(line));
            text.push('\n');
        }
        text
    }

    /// A threshold's value in this analysis. Only for names that stand in [`Spec::thresholds`].
    pub fn value(&self, scene: &Scene, name: &str) -> f64 {
        let default =
            self.thresholds.iter().find(|threshold| threshold.name == name).map_or(0.0, |known| known.default);
        scene.threshold(name, default)
    }

    /// A silence in nanoseconds after which one of the host's timers may have ended an entry: the user's threshold, else
    /// the shortest of the timers when the host tells any of them, else the threshold's default.
    pub fn timer(&self, scene: &Scene, name: &str, timers: &[&Setting]) -> f64 {
        let told = scene.witness.host.shortest(timers).filter(|_| !scene.thresholds.contains_key(name));
        let seconds = told.map_or_else(|| self.value(scene, name), |seconds| seconds as f64 - JIFFIES);
        seconds * SECOND as f64
    }
}
