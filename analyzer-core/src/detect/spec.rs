//! What a detector says of itself.

use super::claim::Claim;
use super::scene::Scene;
use crate::report::{Finding, Severity};
use crate::time::SECOND;
use crate::witness::sysctl::Setting;

/// What a timer of the kernel may fall short of its seconds, as the captures see it.
const JIFFIES: f64 = 0.1;

/// A threshold that a user may set by name.
#[derive(Clone, Copy, Debug)]
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

/// A detector: what it says of itself, and its two steps.
#[derive(Clone, Copy)]
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
    /// Step one: what it finds, flow by flow.
    pub observe: fn(&Scene) -> Vec<Claim>,
    /// Step two: one finding from the claims that belong together.
    pub conclude: fn(&Scene, &[Claim]) -> Finding,
}

impl Spec {
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
