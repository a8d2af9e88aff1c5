//! The same for many things at once.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does something with each item, on as many threads as there are processors, and collects what it says in order.
/// Not with rayon: a worker that waits for one analysis would begin the next on the same stack.
pub(crate) fn each<T: Sync, R: Send>(items: &[T], say: impl Fn(&T) -> Vec<R> + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let said = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else { break };
                    let text = say(item);
                    said.lock().expect("no thread panicked").insert(place, text);
                }
            });
        }
    });
    said.into_inner().expect("no thread panicked").into_values().flatten().collect()
}
