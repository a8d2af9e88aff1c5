//! From the bytes of one file to rows: what each packet costs before anybody asks what it means.

use analyzer_core::capture::{CaptureReader, Next};
use analyzer_core::packet::Decoder;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pcapdiff_benches::{Plan, SHAPES, write_pair};
use std::hint::black_box;
use std::path::Path;

/// Bytes of both captures, of which one is read.
const BYTES: u64 = 40_000_000;

fn decode_file(path: &Path) -> u64 {
    let mut reader = CaptureReader::open(path).expect("a valid capture");
    let mut decoder = Decoder::new();
    let mut details = Vec::new();
    let mut packets = 0;
    while let Next::Record(record) = reader.next(i64::MAX) {
        black_box(decoder.decode(&record, &mut details));
        details.clear();
        packets += 1;
    }
    packets
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(20);
    for (name, shape) in SHAPES {
        let folder = tempfile::tempdir().expect("a folder for the captures");
        let mut plan = Plan::new(shape, BYTES);
        plan.flows = 1_000;
        let (a, _, truth) = write_pair(folder.path(), &plan).expect("room for the captures");
        assert_eq!(decode_file(&a), truth.packets_a, "every record is decoded");
        group.throughput(Throughput::Bytes(truth.bytes_a));
        group.bench_function(name, |bencher| bencher.iter(|| decode_file(&a)));
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
