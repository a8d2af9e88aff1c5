//! What the files of a set say of themselves, added up.

use crate::capture::CaptureSummary;

/// Most problems listed of a set.
const MAX_PROBLEMS: usize = 1000;

/// Adds a file's summary to that of the set.
pub(super) fn add(sum: &mut CaptureSummary, file: CaptureSummary, name: &str) {
    if !sum.format.split(", ").any(|known| known == file.format) {
        let comma = if sum.format.is_empty() { "" } else { ", " };
        sum.format = format!("{}{comma}{}", sum.format, file.format);
    }
    for interface in file.interfaces {
        let Some(known) = sum.interfaces.iter_mut().find(|known| known.same(&interface)) else {
            sum.interfaces.push(interface);
            continue;
        };
        known.packets += interface.packets;
        known.dropped_between = known.dropped_between.saturating_add(interface.dropped_between);
        // The files of a ring repeat what has run up since the capture began.
        known.received = known.received.max(interface.received);
        known.dropped = known.dropped.max(interface.dropped);
        known.dropped_by_os = known.dropped_by_os.max(interface.dropped_by_os);
    }
    sum.packets += file.packets;
    sum.truncated_files.extend(file.truncated_at.map(|offset| (name.to_owned(), offset)));
    let room = MAX_PROBLEMS.saturating_sub(sum.problems.len());
    sum.problems.extend(file.problems.into_iter().take(room));
    for comment in file.comments {
        if !sum.comments.contains(&comment) && sum.comments.len() < 100 {
            sum.comments.push(comment);
        }
    }
    sum.application = sum.application.take().or(file.application);
}
