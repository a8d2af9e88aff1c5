//! Time as what a packet costs: nanoseconds for each, and gigabytes of capture in a second.

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput};

/// Wall time, told by the packet and by the byte.
pub(crate) struct PerPacket(WallTime);

/// What the benches run with.
pub(crate) fn criterion() -> Criterion<PerPacket> {
    Criterion::default().with_measurement(PerPacket(WallTime))
}

impl Measurement for PerPacket {
    type Intermediate = <WallTime as Measurement>::Intermediate;
    type Value = <WallTime as Measurement>::Value;

    fn start(&self) -> Self::Intermediate {
        self.0.start()
    }
    fn end(&self, start: Self::Intermediate) -> Self::Value {
        self.0.end(start)
    }
    fn add(&self, one: &Self::Value, other: &Self::Value) -> Self::Value {
        self.0.add(one, other)
    }
    fn zero(&self) -> Self::Value {
        self.0.zero()
    }
    fn to_f64(&self, value: &Self::Value) -> f64 {
        self.0.to_f64(value)
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for PerPacket {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        self.0.formatter().scale_values(typical, values)
    }

    fn scale_throughputs(&self, typical: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        match throughput {
            Throughput::Elements(packets) => {
                for nanoseconds in values {
                    *nanoseconds /= *packets as f64;
                }
                "ns/packet"
            }
            Throughput::Bytes(bytes) => {
                for nanoseconds in values {
                    *nanoseconds = *bytes as f64 / *nanoseconds;
                }
                "GB/s"
            }
            _ => self.0.formatter().scale_throughputs(typical, throughput, values),
        }
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        self.0.formatter().scale_for_machines(values)
    }
}
