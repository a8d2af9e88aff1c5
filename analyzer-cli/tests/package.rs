//! What would be published: both packages have what they need and no more, and the oldest Rust that is promised suffices.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGES: [&str; 2] = ["analyzer-core", "pcapdiff"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What cargo prints, without asking the network.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn metadata() -> Value {
    let host = cargo(&["--version", "--verbose"]);
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its host");
    let text = cargo(&["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host]);
    serde_json::from_str(&text).expect("metadata are JSON")
}

/// `1.93` or `1.93.1` as three numbers.
fn version(text: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = text.split('.').map(|part| part.parse().expect("a number")).collect();
    numbers.resize(3, 0);
    numbers
}

#[test]
fn the_oldest_rust_that_is_promised_is_enough_for_all_dependencies() {
    let metadata = metadata();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (package["id"].to_string(), package)).collect();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (node["id"].to_string(), node)).collect();
    let ours = |package: &&Value| PACKAGES.contains(&package["name"].as_str().expect("a name"));
    let promised =
        version(packages.values().find(ours).expect("it is there")["rust_version"].as_str().expect("stated"));

    // What is built for a user: dependencies of tests may want more.
    let mut open: Vec<String> = packages.values().filter(ours).map(|package| package["id"].to_string()).collect();
    let mut seen: BTreeSet<String> = open.iter().cloned().collect();
    while let Some(id) = open.pop() {
        for dependency in list(&nodes[&id]["deps"]) {
            let needed = list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
            let id = dependency["pkg"].to_string();
            if needed && seen.insert(id.clone()) {
                open.push(id);
            }
        }
    }
    assert!(seen.len() > 20, "the tree has been walked");
    let wanting: Vec<String> = seen
        .iter()
        .map(|id| &packages[id])
        .filter(|package| package["rust_version"].as_str().is_some_and(|text| version(text) > promised))
        .map(|package| format!("{} {} wants {}", package["name"], package["version"], package["rust_version"]))
        .collect();
    assert!(wanting.is_empty(), "rust-version is {promised:?}, but {wanting:?}");

    let stated = format!("Rust {}.{} or later", promised[0], promised[1]);
    for document in ["README.md", "CONTRIBUTING.md"] {
        let text = std::fs::read_to_string(root().join(document)).expect("it can be read");
        assert!(text.contains(&stated), "{document} does not say `{stated}`");
    }
}

#[test]
fn the_packages_hold_what_they_need_and_no_more() {
    for package in PACKAGES {
        let text = cargo(&["package", "--list", "--allow-dirty", "--offline", "--package", package]);
        let files: BTreeSet<&str> = text.lines().collect();
        for needed in ["Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(files.contains(needed), "{package} lacks {needed}: {files:?}");
        }
        let stray =
            |file: &&&str| ["tests/", "testdata/", "benches/", "fuzz/"].iter().any(|folder| file.starts_with(folder));
        assert_eq!(files.iter().find(stray), None, "{package}");
    }
}

#[test]
fn the_packages_say_what_registries_ask() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("a list") {
        let name = package["name"].as_str().expect("a name");
        if !PACKAGES.contains(&name) {
            continue;
        }
        for key in ["description", "license", "repository", "readme", "rust_version"] {
            assert!(package[key].as_str().is_some_and(|text| !text.is_empty()), "{name}: {key}");
        }
        // The limits of crates.io.
        for key in ["keywords", "categories"] {
            let count = package[key].as_array().expect("a list").len();
            assert!((1..=5).contains(&count), "{name}: {count} {key}");
        }
    }
}
