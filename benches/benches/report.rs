//! From facts to the report, once all packets are matched: the flows' facts taken together, every detector, findings in words,
//! and the whole as JSON.

mod measure;

use analyzer_core::Analysis;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use measure::PerPacket;
use pcapdiff_benches::{Plan, SHAPES, synthesise};
use std::hint::black_box;
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bytes of both captures, held in memory: no file is looked through twice.
const BYTES: u64 = 40_000_000;
/// Enough losses that detectors and their findings have something to do.
const LOSS_ONE_IN: u64 = 100;

/// How long the report takes after the last window was matched.
fn after_matching([a, b]: [Vec<u8>; 2]) -> Duration {
    let matched = Arc::new(Mutex::new(Instant::now()));
    let last = Arc::clone(&matched);
    let analysis = Analysis::builder()
        .a_reader("a", Cursor::new(a))
        .b_reader("b", Cursor::new(b))
        .progress(move |_| *last.lock().expect("one thread tells") = Instant::now());
    let report = analysis.run().expect("a valid pair");
    black_box(serde_json::to_vec(&report).expect("a report is plain data"));
    let matched = *matched.lock().expect("one thread tells");
    matched.elapsed()
}

fn report(criterion: &mut Criterion<PerPacket>) {
    let mut group = criterion.benchmark_group("report");
    group.sample_size(10);
    for (name, shape) in SHAPES {
        let mut plan = Plan::new(shape, BYTES);
        (plan.flows, plan.loss_one_in) = (5_000, LOSS_ONE_IN);
        let mut pair = [Vec::new(), Vec::new()];
        let [a, b] = &mut pair;
        let truth = synthesise(&plan, a, b).expect("memory takes everything");
        let (elements, bytes) = (truth.packets_a + truth.packets_b, truth.bytes_a + truth.bytes_b);
        group.throughput(Throughput::ElementsAndBytes { elements, bytes });
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| after_matching(pair.clone())).sum());
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = measure::criterion(); targets = report);
criterion_main!(benches);
