//! Text for a terminal, line by line: wrapped prose, hanging labels, lines to copy. Escapes all that it is given.

use anstyle::Style;
use std::fmt::Write;

use super::text::{printable, width, wrap};

/// Prose wider than this is hard to read.
const WIDEST: usize = 100;
/// Narrower than this there is nothing left to wrap.
const NARROWEST: usize = 20;
/// A space at which no line breaks. It is printed as a plain one, so that what is copied is what it looks like.
const GLUE: &str = "\u{a0}";

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();

/// Text under construction, of limited width.
pub(crate) struct Page {
    pub(crate) out: String,
    pub(crate) width: usize,
}

impl Page {
    /// An empty page for a terminal of so many columns.
    pub(crate) fn new(columns: usize) -> Self {
        Self { out: String::new(), width: columns.clamp(NARROWEST, WIDEST) }
    }

    /// A blank line, unless the page begins here.
    pub(crate) fn blank(&mut self) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
    }

    /// A blank line, unless there is one.
    pub(crate) fn blank_once(&mut self) {
        if !self.out.ends_with("\n\n") {
            self.blank();
        }
    }

    /// Prose that starts after `label`, in column `indent`, and stays in that column.
    pub(crate) fn hanging(&mut self, label: &str, style: Style, indent: usize, text: &str) {
        let label = printable(label);
        let text = printable(text);
        // On a narrow terminal the label takes a line of its own rather than half of every line.
        let indent = if self.width < indent + NARROWEST { 2.min(indent) } else { indent };
        let lines = wrap(&text, self.width - indent);
        let used = width(&label);
        let beside = used == 0 || used < indent;
        if !beside {
            self.styled_line(style, &label);
        }
        for (i, line) in lines.iter().enumerate() {
            if i == 0 && beside && used > 0 {
                let _ = write!(self.out, "{style}{label}{style:#}{:1$}", "", indent - used);
            } else {
                let _ = write!(self.out, "{:indent$}", "");
            }
            self.out.push_str(&line.replace(GLUE, " "));
            self.out.push('\n');
        }
    }

    /// Prose in column `indent`.
    pub(crate) fn prose(&mut self, indent: usize, text: &str) {
        self.hanging("", Style::new(), indent, text);
    }

    /// Something to copy: never wrapped.
    pub(crate) fn verbatim(&mut self, indent: usize, text: &str) {
        for line in text.lines() {
            let _ = writeln!(self.out, "{:indent$}{}", "", printable(line));
        }
    }

    /// A line of one style; the caller sees to it that it is harmless.
    pub(crate) fn styled_line(&mut self, style: Style, line: &str) {
        let _ = writeln!(self.out, "{style}{line}{style:#}");
    }

    /// Short statements in a row, broken between two of them where the line is full.
    pub(crate) fn row(&mut self, parts: &[String]) {
        let mut used = 0;
        for part in parts {
            let part = printable(part);
            let wide = width(&part);
            if used > 0 && used + 3 + wide <= self.width {
                let _ = write!(self.out, "{DIM} · {DIM:#}{part}");
                used += 3 + wide;
                continue;
            }
            if used > 0 {
                self.out.push('\n');
            }
            // A statement that does not fit in a line of its own wraps like prose.
            let lines = wrap(&part, self.width);
            self.out.push_str(&lines.join("\n"));
            used = lines.last().map_or(0, |line| width(line));
        }
        self.out.push('\n');
    }
}

/// Short statements in a row that lines break between, not inside: `wrap` breaks at plain spaces only, and `hanging`
/// turns the others back.
pub(crate) fn whole_parts(parts: &[String], columns: usize) -> String {
    if columns < 60 {
        return parts.join(" · ");
    }
    let glued: Vec<String> = parts.iter().map(|part| part.replace(' ', GLUE)).collect();
    glued.join(&format!("{GLUE}· "))
}
