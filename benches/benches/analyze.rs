//! The whole way from two files to a report.

mod measure;

use analyzer_core::Analysis;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use measure::PerPacket;
use pcapdiff_benches::{Plan, SHAPES, write_pair};
use std::hint::black_box;

/// Bytes of both captures: enough for many windows, and little enough for many samples.
const BYTES: u64 = 40_000_000;

fn analyze(criterion: &mut Criterion<PerPacket>) {
    let mut group = criterion.benchmark_group("analyze");
    group.sample_size(10);
    for (name, shape) in SHAPES {
        let folder = tempfile::tempdir().expect("a folder for the captures");
        let mut plan = Plan::new(shape, BYTES);
        plan.flows = 1_000;
        let (a, b, truth) = write_pair(folder.path(), &plan).expect("room for the captures");
        let (elements, bytes) = (truth.packets_a + truth.packets_b, truth.bytes_a + truth.bytes_b);
        group.throughput(Throughput::ElementsAndBytes { elements, bytes });
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(Analysis::builder().a_path(&a).b_path(&b).run().expect("a valid pair")));
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = measure::criterion(); targets = analyze);
criterion_main!(benches);
