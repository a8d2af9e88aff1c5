//! A and B given the wrong way round: the mistake that everybody makes once. Where the TTL shows it, the answer is that of
//! the right order.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The captures of each labelled pair under a folder.
fn pairs(folder: &Path, found: &mut Vec<[PathBuf; 2]>) {
    if let Ok(text) = std::fs::read_to_string(folder.join("expect.json")) {
        let truth: Value = serde_json::from_str(&text).expect("expect.json is JSON");
        found.push(["a", "b"].map(|point| folder.join(truth[point].as_str().expect("a name"))));
        return;
    }
    for entry in std::fs::read_dir(folder).expect("testdata can be read") {
        let path = entry.expect("testdata can be read").path();
        if path.is_dir() {
            pairs(&path, found);
        }
    }
}

fn report(a: &Path, b: &Path) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pcapdiff"));
    command.args(["--no-config", "-q", "--format", "json"]).args([a, b]);
    let output = command.output().expect("the program starts");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{}: {error}", a.display()))
}

#[test]
fn pairs_behind_a_router_say_the_same_either_way_round() {
    let mut found = Vec::new();
    pairs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata"), &mut found);
    assert!(found.len() > 150, "testdata is incomplete: {} pairs", found.len());
    let mut turned = 0;
    for [a, b] in &found {
        let (right, mut swapped) = (report(a, b), report(b, a));
        let limits = swapped["coverage"].as_array_mut().expect("a list");
        if limits.first().is_none_or(|limit| limit["id"] != "points-swapped") {
            continue;
        }
        limits.remove(0);
        assert_eq!(swapped, right, "{}", a.display());
        turned += 1;
    }
    // The others are bridged, or too little of them crosses.
    assert!(turned * 10 > found.len() * 8, "{turned} of {}", found.len());
}
