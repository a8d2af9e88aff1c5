//! What is in a directory of evidence, in Markdown.

use analyzer_core::Point;
use analyzer_core::evidence::{Extract, Picked, Trace};
use analyzer_core::report::{Finding, Report};
use std::fmt::Write;

use super::describe;
use super::markdown::{cell, escape, fenced};
use super::text::{count, relative};

/// Most stretches of frames that are named.
const MOST_STRETCHES: usize = 30;

/// The name of the capture of a finding at a point.
pub(crate) fn file_name(number: usize, finding: &Finding, point: Point) -> String {
    format!("{:02}-{}.{}.pcapng", number + 1, finding.id, letter(point).to_ascii_lowercase())
}

fn letter(point: Point) -> char {
    if point == Point::A { 'A' } else { 'B' }
}

/// The index.
pub(crate) fn render(report: &Report, extracts: &[Extract], trace: &Trace) -> String {
    let mut out = String::new();
    let [a, b] = [&report.inputs.a, &report.inputs.b];
    let _ = writeln!(out, "# Evidence: {} ↔ {}\n", escape(&describe::input_name(a)), escape(&describe::input_name(b)));
    if report.findings.is_empty() {
        out.push_str("Nothing was found, so there is nothing to prove.\n");
        return out;
    }
    out.push_str(
        "For each finding two small captures, one of each point: the frames that prove it, with a comment each (in \
         Wireshark the filter `frame.comment` finds them), and those around them: the same flows, whole where they are short, and some of others. \
         Bytes, times and interfaces are those of the originals; each capture has the clock of its point. What the whole \
         of the traffic shows may not show in so few frames: the report is about the originals.\n\n",
    );
    for (number, (finding, extract)) in report.findings.iter().zip(extracts).enumerate() {
        section(&mut out, number, finding, extract, trace);
    }
    let _ = writeln!(out, "pcapdiff {}", escape(report.tool_version));
    out
}

fn section(out: &mut String, number: usize, finding: &Finding, extract: &Extract, trace: &Trace) {
    let names = Point::BOTH.map(|point| file_name(number, finding, point));
    let _ = writeln!(out, "## {}. {}: {}\n", number + 1, describe::severity(finding.severity), finding.id);
    let _ = writeln!(out, "{}\n", escape(&finding.summary));
    for (point, name) in Point::BOTH.into_iter().zip(&names) {
        let picked = &extract.picked[point.index()];
        let frames = count(picked.len() as u64, "frame");
        let which = if picked.is_empty() { String::new() } else { format!(": {}", stretches(picked, point, trace)) };
        let _ = writeln!(out, "- {}: `{name}`, {frames}{which}", letter(point));
    }
    if !finding.evidence.is_empty() {
        out.push_str("\n| Point | Frame here | Frame in the original | Time | What it shows |\n");
        out.push_str("| --- | ---: | ---: | ---: | --- |\n");
        for cited in &finding.evidence {
            let picked = &extract.picked[cited.point.index()];
            let number = trace.number(cited);
            let place = picked.iter().position(|picked| picked.frame == number);
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} |",
                letter(cited.point),
                place.map(|place| (place + 1).to_string()).unwrap_or_default(),
                escape(&trace.frame_name(cited.point, number)),
                relative(cited.time, finding.first),
                cell(&cited.note),
            );
        }
    }
    out.push_str("\nTo analyze these two alone:\n\n");
    fenced(out, "", std::iter::once(format!("pcapdiff {} {}", names[0], names[1]).as_str()));
    out.push('\n');
}

/// Which frames of the original these are: `1-12 are 57-68, 13 is 72`.
fn stretches(picked: &[Picked], point: Point, trace: &Trace) -> String {
    // First number here, first there, how many.
    let mut runs: Vec<(usize, u32, u32)> = Vec::new();
    for (place, picked) in picked.iter().enumerate() {
        match runs.last_mut() {
            Some((_, first, length)) if *first + *length == picked.frame => *length += 1,
            _ => runs.push((place + 1, picked.frame, 1)),
        }
    }
    let shown = runs.iter().take(MOST_STRETCHES).map(|&(here, there, length)| match length {
        1 => format!("{here} is {}", escape(&trace.frame_name(point, there))),
        _ if trace.files[point.index()].is_set() => format!(
            "{here}-{} are {} to {}",
            here + length as usize - 1,
            escape(&trace.frame_name(point, there)),
            escape(&trace.frame_name(point, there + length - 1))
        ),
        _ => format!("{here}-{} are {there}-{}", here + length as usize - 1, there + length - 1),
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if runs.len() > MOST_STRETCHES {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    fn picked(frames: &[u32]) -> Vec<Picked> {
        frames.iter().map(|&frame| Picked { frame, notes: Vec::new() }).collect()
    }

    #[test]
    fn stretches_keep_both_numbers() {
        let stretches = |frames: &[u32]| stretches(&picked(frames), Point::A, &Trace::default());
        assert_eq!(stretches(&[7]), "1 is 7");
        assert_eq!(stretches(&[5, 6, 7, 20, 31, 32]), "1-3 are 5-7, 4 is 20, 5-6 are 31-32");
    }

    #[test]
    fn an_index_names_the_files_and_both_numbers() {
        let mut report = sample::resets();
        report.findings.truncate(1);
        let extract = Extract { picked: [picked(&[71, 72, 74, 76]), picked(&[78, 79, 80, 81, 82, 83])] };
        sample::snapshot("evidence.md", &render(&report, &[extract], &Trace::default()));
    }

    #[test]
    fn nothing_hostile_becomes_markup() {
        let text = render(&sample::hostile(), &[Extract::default(), Extract::default()], &Trace::default());
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        assert!(!text.replace("\\<", "").contains('<'));
    }
}
