//! One file and one thread, stage by stage: records, rows, rows with their flows.

mod measure;

use analyzer_core::capture::{CaptureReader, CaptureSet, Next};
use analyzer_core::flow::ingest::{Ingest, Stop};
use analyzer_core::packet::Decoder;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use measure::PerPacket;
use pcapdiff_benches::{Plan, SHAPES, write_pair};
use std::hint::black_box;
use std::path::{Path, PathBuf};

/// Bytes of both captures, of which one is read.
const BYTES: u64 = 40_000_000;
/// Bytes of a window, as in an analysis.
const WINDOW: u64 = 4 << 20;

fn read_file(path: &Path) -> u64 {
    let mut reader = CaptureReader::open(path).expect("a valid capture");
    let mut packets = 0;
    while let Next::Record(record) = reader.next(i64::MAX) {
        black_box(record.data.len());
        packets += 1;
    }
    packets
}

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

/// As an analysis does, but no flow ever finds its partner.
fn look_up(path: &PathBuf) -> u64 {
    let mut point = Ingest::new(CaptureSet::open(std::slice::from_ref(path), None).expect("a valid capture"));
    while point.stop != Stop::End {
        point.window(i64::MAX, WINDOW);
        black_box(point.batch.loose.len());
    }
    point.packets
}

fn stage(criterion: &mut Criterion<PerPacket>, stage: &str, run: impl Fn(&PathBuf) -> u64) {
    let mut group = criterion.benchmark_group(stage);
    group.sample_size(20);
    for (name, shape) in SHAPES {
        let folder = tempfile::tempdir().expect("a folder for the captures");
        let mut plan = Plan::new(shape, BYTES);
        plan.flows = 1_000;
        let (a, _, truth) = write_pair(folder.path(), &plan).expect("room for the captures");
        assert_eq!(run(&a), truth.packets_a, "every record is seen");
        group.throughput(Throughput::ElementsAndBytes { elements: truth.packets_a, bytes: truth.bytes_a });
        group.bench_function(name, |bencher| bencher.iter(|| run(&a)));
    }
    group.finish();
}

fn stages(criterion: &mut Criterion<PerPacket>) {
    stage(criterion, "read", |path| read_file(path));
    stage(criterion, "decode", |path| decode_file(path));
    stage(criterion, "look-up", look_up);
}

criterion_group!(name = benches; config = measure::criterion(); targets = stages);
criterion_main!(benches);
