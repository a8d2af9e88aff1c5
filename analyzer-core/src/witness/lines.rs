//! Lines of a text that may be anything: numbered, bounded in length, never held as a whole.

use crate::error::Error;
use std::io::{BufRead, ErrorKind};
use std::path::{Path, PathBuf};

/// Longest line that is looked at; the rest of a longer one is skipped.
const MAX_LINE: usize = 4096;

/// Reads line by line.
pub(super) struct Lines<R> {
    path: PathBuf,
    reader: R,
    number: u64,
    line: Vec<u8>,
    text: String,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(path: &Path, reader: R) -> Self {
        Self { path: path.to_owned(), reader, number: 0, line: Vec::new(), text: String::new() }
    }

    /// The next line and its number; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &str)>, Error> {
        self.line.clear();
        let mut any = false;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(source) => {
                    let reason = source.to_string();
                    return Err(Error::Witness { path: self.path.clone(), line: self.number + 1, reason });
                }
            };
            if chunk.is_empty() {
                break;
            }
            any = true;
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            let room = MAX_LINE - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.number += 1;
        self.text.clear();
        self.text.push_str(&String::from_utf8_lossy(&self.line));
        Ok(Some((self.number, &self.text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    #[test]
    fn lines_are_numbered_and_cut() {
        let text = format!("one\r\n\n{}\nlast", "x".repeat(3 * MAX_LINE));
        let mut lines = Lines::new(Path::new("log"), BufReader::with_capacity(7, text.as_bytes()));
        assert_eq!(lines.next().unwrap(), Some((1, "one\r")));
        assert_eq!(lines.next().unwrap(), Some((2, "")));
        assert_eq!(lines.next().unwrap().map(|(number, line)| (number, line.len())), Some((3, MAX_LINE)));
        assert_eq!(lines.next().unwrap(), Some((4, "last")));
        assert_eq!(lines.next().unwrap(), None);
    }
}
