//! Decoding of frames of every link type, one after the other, since fragments and tunnels remember; with the short way for
//! plain packets and without, which must come to the same.

#![no_main]

use analyzer_core::packet::{Decoder, FlowKey, Row};
use analyzer_fuzz::each_frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (mut decoder, mut general) = (Decoder::new(), Decoder::new());
    let (mut details, mut general_details) = (Vec::new(), Vec::new());
    // As in the analysis, which decodes over what the last packet left there.
    let (mut row, mut key) = (Row::default(), FlowKey::default());
    each_frame(data, |record| {
        let before = details.len();
        decoder.decode_into(record, &mut details, &mut row, &mut key);
        assert!(details.len() <= before + 1);
        assert!(row.detail == 0 || row.detail as usize == details.len());
        let (mut other, mut other_key) = (Row::default(), FlowKey::default());
        general.decode_general(record, &mut general_details, &mut other, &mut other_key);
        assert_eq!((row, key, details.len()), (other, other_key, general_details.len()));
        assert_eq!(details.last(), general_details.last());
        assert_eq!((row.frame, row.time, row.wirelen), (record.frame, record.time, record.wirelen));
    });
});
