//! The synthesised pairs are what they claim to be.

use pcapdiff_benches::{Plan, Shape, Truth, synthesise};
use std::collections::HashMap;

fn pair(plan: &Plan) -> (Vec<u8>, Vec<u8>, Truth) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let truth = synthesise(plan, &mut a, &mut b).expect("memory takes everything");
    (a, b, truth)
}

fn plan(shape: Shape) -> Plan {
    let mut plan = Plan::new(shape, 6_000_000);
    plan.flows = 200;
    plan.loss_one_in = 100;
    plan
}

/// Time in microseconds and frame of each record.
fn records(capture: &[u8]) -> Vec<(u64, &[u8])> {
    let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap());
    let mut at = 24;
    let mut records = Vec::new();
    while at < capture.len() {
        let length = word(at + 8) as usize;
        records.push((u64::from(word(at)) * 1_000_000 + u64::from(word(at + 4)), &capture[at + 16..at + 16 + length]));
        at += 16 + length;
    }
    records
}

/// Internet checksum over all of it: 0xffff when the checksum inside is right.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += (u64::from(pair[0]) << 8) | u64::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Whether the checksums of IP and of TCP or UDP are right, and whether the latter is unfinished instead.
fn checksums(frame: &[u8]) -> (bool, bool, bool) {
    let (ip, transport) = frame[14..].split_at(20);
    assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), frame.len() - 14);
    let pseudo = [&ip[12..20], &[0, ip[9]], &(transport.len() as u16).to_be_bytes()].concat();
    let at = if ip[9] == 6 { 16 } else { 6 };
    let unfinished = u16::from_be_bytes([transport[at], transport[at + 1]]) == sum(&[&pseudo]);
    (sum(&[ip]) == 0xffff, sum(&[&pseudo, transport]) == 0xffff, unfinished)
}

/// TCP payload by (peer, outer or inner sequence number): NAT changes neither.
fn outbound_data(capture: &[u8]) -> HashMap<([u8; 4], u32), &[u8]> {
    let mut data = HashMap::new();
    for (_, frame) in records(capture) {
        let ip = &frame[14..34];
        let header = 34 + usize::from(frame[46] >> 4) * 4;
        let outbound = u16::from_be_bytes([frame[36], frame[37]]) == 443;
        if ip[9] == 6 && outbound && frame.len() > header {
            let seq = u32::from_be_bytes(frame[38..42].try_into().unwrap());
            data.insert((ip[16..20].try_into().unwrap(), seq), &frame[header..]);
        }
    }
    data
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    for shape in [Shape::Large, Shape::Small, Shape::Offload] {
        assert!(pair(&plan(shape)) == pair(&plan(shape)));
        assert!(pair(&plan(shape)).0 != pair(&Plan { seed: 2, ..plan(shape) }).0);
    }
}

#[test]
fn records_are_counted_and_in_the_order_of_time() {
    for shape in [Shape::Large, Shape::Small, Shape::Offload] {
        let (a, b, truth) = pair(&plan(shape));
        assert_eq!((a.len() as u64, b.len() as u64), (truth.bytes_a, truth.bytes_b));
        assert!(a.len() + b.len() >= 6_000_000);
        for (capture, packets) in [(&a, truth.packets_a), (&b, truth.packets_b)] {
            let records = records(capture);
            assert_eq!(records.len() as u64, packets);
            assert!(records.is_sorted_by_key(|(time, _)| *time));
        }
    }
}

#[test]
fn checksums_are_right_or_rightly_unfinished() {
    for shape in [Shape::Large, Shape::Small, Shape::Offload] {
        let (a, b, _) = pair(&plan(shape));
        for (_, frame) in records(&b) {
            let (ip, transport, _) = checksums(frame);
            assert!(ip && transport);
        }
        for (_, frame) in records(&a) {
            let (ip, transport, unfinished) = checksums(frame);
            let outbound = frame[26..28] == [192, 168];
            assert!(ip && if shape == Shape::Offload && outbound { unfinished } else { transport });
        }
    }
}

#[test]
fn what_was_not_lost_crossed() {
    for shape in [Shape::Large, Shape::Small] {
        let (_, _, truth) = pair(&plan(shape));
        assert!(truth.lost_outbound > 0 && truth.lost_inbound > 0 && truth.retransmitted > 0);
        assert_eq!(truth.packets_a - truth.lost_outbound, truth.packets_b - truth.lost_inbound);
        let (_, _, truth) = pair(&Plan { loss_one_in: 0, ..plan(shape) });
        assert_eq!((truth.packets_a, truth.lost_outbound, truth.retransmitted), (truth.packets_b, 0, 0));
    }
}

#[test]
fn superframes_are_their_segments() {
    let (a, b, truth) = pair(&Plan { loss_one_in: 0, ..plan(Shape::Offload) });
    assert!(truth.superframes > 20);
    let segments = outbound_data(&b);
    let mut largest = 0;
    for ((peer, mut seq), mut payload) in outbound_data(&a) {
        largest = largest.max(payload.len());
        while !payload.is_empty() {
            let segment = segments[&(peer, seq)];
            assert_eq!(segment, &payload[..segment.len()]);
            payload = &payload[segment.len()..];
            seq = seq.wrapping_add(segment.len() as u32);
        }
    }
    assert!(largest > 50_000);
}
