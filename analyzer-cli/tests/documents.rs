//! What the README shows is what the program prints. `UPDATE_SNAPSHOTS=1 cargo test` writes it anew.

use std::path::Path;
use std::process::Command;

#[test]
fn the_readme_shows_a_real_report() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pair = ["testdata/pairs/rst_by_host/virbr0.pcap", "testdata/pairs/rst_by_host/uplink.pcap"];
    let output = Command::new(env!("CARGO_BIN_EXE_pcapdiff")).args(pair).current_dir(&root).output();
    let output = output.expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = format!("```\n{}```\n", String::from_utf8(output.stdout).expect("text"));

    let readme = root.join("README.md");
    let text = std::fs::read_to_string(&readme).expect("the README can be read");
    let (begin, end) = ("<!-- output: begin -->\n", "<!-- output: end -->");
    let start = text.find(begin).expect("the README has a place for it") + begin.len();
    let length = text[start..].find(end).expect("the place has an end");
    if text[start..start + length] == shown {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_SNAPSHOTS").is_some(),
        "the program prints something else than the README shows; UPDATE_SNAPSHOTS=1 cargo test writes it anew"
    );
    std::fs::write(&readme, format!("{}{shown}{}", &text[..start], &text[start + length..])).expect("it is writable");
}
