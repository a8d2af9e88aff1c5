//! Pairing and matching alone: rows that were decoded before are paired through NAT and matched by range and content.

mod measure;

use analyzer_core::align::clock::{Coarse, Overlap};
use analyzer_core::align::matching::{Shard, Window};
use analyzer_core::align::pairing::Pairing;
use analyzer_core::capture::CaptureSet;
use analyzer_core::flow::SHARDS;
use analyzer_core::flow::ingest::Ingest;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use measure::PerPacket;
use pcapdiff_benches::{Plan, SHAPES, write_pair};
use std::path::PathBuf;

/// Bytes of both captures; their rows are held in memory at once.
const BYTES: u64 = 20_000_000;

/// Both captures, decoded into one window.
fn decoded(paths: &[PathBuf; 2]) -> [Ingest; 2] {
    paths.each_ref().map(|path| {
        let mut point = Ingest::new(CaptureSet::open(std::slice::from_ref(path), None).expect("a valid capture"));
        point.window(i64::MAX, u64::MAX / 2);
        point
    })
}

/// Pairs and matches everything; returns how many packets of A were found at B.
fn align_all(mut points: [Ingest; 2]) -> u64 {
    let mut shards: Vec<Shard> = (0..SHARDS).map(|_| Shard::default()).collect();
    let mut pairing = Pairing::default();
    pairing.run(&mut points, &mut shards, Coarse::default(), i64::MAX);
    pairing.finish(&mut points, &mut shards);
    let overlap = Overlap::default();
    let [a, b] = points.each_ref().map(|point| &point.batch);
    for (number, shard) in shards.iter_mut().enumerate() {
        shard.run(&Window {
            rows: [&a.rows[number], &b.rows[number]],
            details: [&a.details, &b.details],
            coarse: Coarse::default(),
            read_to: [i64::MAX; 2],
            overlap: &overlap,
        });
        shard.finish(&overlap);
    }
    shards.iter().map(|shard| shard.tally.matched[0]).sum()
}

fn align(criterion: &mut Criterion<PerPacket>) {
    let mut group = criterion.benchmark_group("align");
    group.sample_size(20);
    for (name, shape) in SHAPES {
        let folder = tempfile::tempdir().expect("a folder for the captures");
        let mut plan = Plan::new(shape, BYTES);
        plan.flows = 1_000;
        let (a, b, truth) = write_pair(folder.path(), &plan).expect("room for the captures");
        let paths = [a, b];
        assert!(align_all(decoded(&paths)) * 10 > truth.packets_a * 9, "nearly all packets are matched");
        let (elements, bytes) = (truth.packets_a + truth.packets_b, truth.bytes_a + truth.bytes_b);
        group.throughput(Throughput::ElementsAndBytes { elements, bytes });
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| decoded(&paths), align_all, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = measure::criterion(); targets = align);
criterion_main!(benches);
