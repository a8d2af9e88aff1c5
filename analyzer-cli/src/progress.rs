//! How far the reading is, on standard error: a bar on a terminal, lines elsewhere when asked for.

use analyzer_core::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::args::When;
use crate::render::text::thousands;

/// A run that ends sooner needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two pictures of a bar that nothing else moves.
const TICK: Duration = Duration::from_millis(200);
/// Where there is no terminal, a line as seldom as this.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Shows progress. Cheap to share between threads; the last one to let go of it need not do anything.
pub(crate) struct Meter {
    started: Instant,
    shown: Shown,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    /// When the last line was written.
    Lines(Mutex<Instant>),
}

impl Meter {
    /// Starts the clock.
    pub(crate) fn new(when: When, quiet: bool) -> Self {
        let started = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        let shown = match when {
            When::Never => Shown::Nothing,
            When::Auto if quiet || !terminal => Shown::Nothing,
            When::Always if !terminal => Shown::Lines(Mutex::new(started)),
            When::Auto | When::Always => Shown::Bar(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())),
        };
        Self { started, shown }
    }

    /// Tells how far the reading is.
    pub(crate) fn update(&self, progress: Progress) {
        let Progress { bytes_read: bytes, bytes_total: total, packets } = progress;
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => self.update_bar(bar, bytes, total, packets),
            Shown::Lines(last) => {
                // A thread that finds another one writing has nothing newer to say.
                let Ok(mut last) = last.try_lock() else { return };
                if last.elapsed() < BETWEEN_LINES {
                    return;
                }
                *last = Instant::now();
                let share = total.filter(|total| *total > 0).map_or_else(
                    || format!("{} bytes", thousands(bytes)),
                    |total| format!("{} %", bytes * 100 / total),
                );
                // Nothing can be done about a closed stderr.
                let _ = writeln!(std::io::stderr(), "pcapdiff: {share} read, {} packets", thousands(packets));
            }
        }
    }

    fn update_bar(&self, bar: &ProgressBar, bytes: u64, total: Option<u64>, packets: u64) {
        if bar.is_hidden() {
            if self.started.elapsed() < PATIENCE {
                return;
            }
            bar.set_style(style(total.is_some()));
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(bytes);
        bar.set_message(format!("{} packets", thousands(packets)));
    }

    /// Says what is made of the captures after the analysis: that reads them again, and so takes as long again. `total`
    /// bytes of it will be [written](Self::wrote), if that can be told.
    pub(crate) fn writing(&self, what: &str, total: Option<u64>) {
        match &self.shown {
            Shown::Nothing => {}
            // What was quick to analyze is quick to read again.
            Shown::Bar(_) if self.started.elapsed() < PATIENCE => {}
            Shown::Bar(bar) => {
                bar.reset();
                bar.set_style(style(total.is_some()));
                bar.set_length(total.unwrap_or(0));
                bar.set_message(what.to_owned());
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(TICK);
            }
            Shown::Lines(_) => {
                let _ = writeln!(std::io::stderr(), "pcapdiff: {what}");
            }
        }
    }

    /// Tells how much has been written.
    pub(crate) fn wrote(&self, bytes: u64) {
        if let Shown::Bar(bar) = &self.shown {
            bar.set_position(bytes);
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.disable_steady_tick();
            bar.finish_and_clear();
        }
    }
}

/// Tells a meter what passes to a writer.
pub(crate) struct Counted<'a, W> {
    writer: W,
    bytes: u64,
    meter: &'a Meter,
}

impl<'a, W: Write> Counted<'a, W> {
    /// Nothing has passed yet.
    pub(crate) fn new(writer: W, meter: &'a Meter) -> Self {
        Self { writer, bytes: 0, meter }
    }
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.writer.write(bytes)?;
        self.bytes += count as u64;
        self.meter.wrote(self.bytes);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

fn style(total_known: bool) -> ProgressStyle {
    let template = if total_known {
        "{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}"
    } else {
        "{spinner} {bytes}  {bytes_per_sec}  {elapsed}  {msg}"
    };
    // The templates are constants of this file; were one wrong, a plain bar still shows the progress.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for known in [true, false] {
            let _ = style(known);
        }
        assert!(
            ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}")
                .is_ok()
        );
    }

    #[test]
    fn silence_costs_nothing_and_never_fails() {
        let meter = Meter::new(When::Never, false);
        meter.update(Progress::default());
        meter.update(Progress { bytes_total: Some(0), ..Progress::default() });
        meter.writing("nothing", None);
        meter.wrote(7);
        meter.finish();
    }
}
