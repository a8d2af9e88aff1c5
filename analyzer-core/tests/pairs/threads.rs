//! The same input gives the same bytes, whatever the number of threads.

use crate::case;
use analyzer_core::Options;

#[test]
fn the_report_does_not_depend_on_the_number_of_threads() {
    for case in case::named(&[
        "healthy_mix",
        "icmp_policed",
        "loss_tcp_out",
        "new_not_forwarded",
        "ok_mix_bridged_gso",
        "partial_ok",
        "pmtu_not_relayed",
        "rst_by_host",
        "stall_guest_short",
        "sync_drop",
        "two_loss_and_host_reset",
        "udp_expiry_3flows",
    ]) {
        let text = |threads| {
            let mut options = Options::default();
            options.threads = threads;
            let report = case.report(options).expect("the pair can be read");
            serde_json::to_string(&report).expect("a report serialises")
        };
        let one = text(1);
        for threads in [1, 2, 16] {
            assert!(one == text(threads), "{}: {threads} threads report otherwise than one", case.name);
        }
    }
}
