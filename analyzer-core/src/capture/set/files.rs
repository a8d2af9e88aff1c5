//! The names of frames in a capture of several files.

/// Most places at which the merged order turns to another file. Beyond them frames are named by their number in the
/// merged order: 16 MB that no ring buffer ever needs.
const MAX_RUNS: usize = 1 << 20;

/// Names the frames of a set.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub(super) names: Vec<String>,
    /// Where the numbers of the set turn to another file, by the set's number.
    runs: Vec<Run>,
    /// From this number on, frames have no other name.
    unnamed: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    frame: u32,
    file: u32,
    own: u32,
}

impl Files {
    /// Of a capture whose first file has this name.
    pub(super) fn of(name: String) -> Self {
        Self { names: vec![name], ..Self::default() }
    }

    /// File names in reading order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether a frame needs a file's name beside its number.
    pub fn is_set(&self) -> bool {
        self.names.len() > 1
    }

    /// The file of a frame and its number there; none for a capture of one file, where numbers are those of the file.
    pub fn place(&self, frame: u32) -> Option<(&str, u32)> {
        if !self.is_set() || self.unnamed.is_some_and(|unnamed| frame >= unnamed) {
            return None;
        }
        let run = self.runs[..self.runs.partition_point(|run| run.frame <= frame)].last()?;
        Some((self.names.get(run.file as usize)?, run.own + (frame - run.frame)))
    }

    /// The number in the set of a frame of a file; of a capture of one file, the number as it is.
    pub fn frame(&self, file: Option<&str>, own: u32) -> u32 {
        let Some(file) = file.filter(|_| self.is_set()) else { return own };
        let ends = self.runs.iter().skip(1).map(|run| run.frame).chain([self.unnamed.unwrap_or(u32::MAX)]);
        let own_of = |run: &Run, end: u32| {
            let place = own.checked_sub(run.own)?.checked_add(run.frame)?;
            let named = self.names.get(run.file as usize).is_some_and(|name| name == file);
            (named && place < end).then_some(place)
        };
        self.runs.iter().zip(ends).find_map(|(run, end)| own_of(run, end)).unwrap_or(own)
    }

    pub(super) fn turn_to(&mut self, frame: u32, file: usize, own: u32) {
        if self.runs.len() < MAX_RUNS {
            self.runs.push(Run { frame, file: file as u32, own });
        } else {
            self.unnamed.get_or_insert(frame);
        }
    }
}
